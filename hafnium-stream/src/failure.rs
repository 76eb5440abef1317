//! What a handler says of a record that it did not finish.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use hafnium_core::resilience::{BreakerOpen, BulkheadFull};
use hafnium_core::{Classify, DeadlineExceeded};

use crate::producer::SendError;

/// What becomes of a record whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// Tried again in place, with backoff, while its key waits; after the last attempt it is dead-lettered.
    Retry,
    /// Moved to the dead-letter topic now.
    DeadLetter,
    /// Passed over: counts as done.
    Skip,
    /// The consumer stops before the record, finishes what it holds and leaves its group.
    Stop,
}

impl Disposition {
    /// The stable name used in metrics and logs: `retry`, `dead_letter`, `skip`, `stop`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::DeadLetter => "dead_letter",
            Self::Skip => "skip",
            Self::Stop => "stop",
        }
    }
}

/// Why a handler did not finish a record, and what becomes of the record.
///
/// `?` works on any error and means [`Disposition::Retry`], which is safe: it ends in the dead-letter topic after the
/// consumer's `max_attempts`. Only errors of this house that say they can never work (an oversized record, say) are
/// dead-lettered at once. For others use [`Failure::classify`] or name the disposition.
///
/// Not an [`Error`] itself, so that `?` converts every error there is.
pub struct Failure {
    disposition: Disposition,
    class: Cow<'static, str>,
    reason: String,
}

impl Failure {
    /// Try again, for a cause that may pass.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::new(Disposition::Retry, "retry", reason)
    }

    /// Move the record to the dead-letter topic now, for a cause that will not pass.
    pub fn dead_letter(reason: impl fmt::Display) -> Self {
        Self::new(Disposition::DeadLetter, "dead_letter", reason)
    }

    /// Pass the record over; it counts as done. Logged and counted.
    pub fn skip(reason: impl fmt::Display) -> Self {
        Self::new(Disposition::Skip, "skip", reason)
    }

    /// Stop the consumer before this record, for a cause that would spoil every record.
    pub fn stop(reason: impl fmt::Display) -> Self {
        Self::new(Disposition::Stop, "stop", reason)
    }

    /// Reads the disposition from the error: retried where it says that it may be, or that its outcome is unknown
    /// (a handler is written to be repeated), dead-lettered otherwise.
    pub fn classify<E: Classify + fmt::Display + ?Sized>(error: &E) -> Self {
        Self::new(disposition_of(error), error.code(), error)
    }

    /// The same failure under a stable, low-cardinality class, such as `ledger.unknown_account`; it is what metrics and
    /// the dead-letter header `error-class` say.
    #[must_use]
    pub fn with_class(mut self, class: &'static str) -> Self {
        self.class = Cow::Borrowed(class);
        self
    }

    /// What becomes of the record.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// The stable class.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// What happened.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn new(disposition: Disposition, class: &'static str, reason: impl fmt::Display) -> Self {
        Self {
            disposition,
            class: Cow::Borrowed(class),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Failure({}, {}: {})",
            self.disposition.as_str(),
            self.class,
            self.reason
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut known = own(&error);
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            known = known.or_else(|| own(cause));
            source = cause.source();
        }
        match known {
            Some((disposition, class)) => Self::new(disposition, class, reason),
            None => Self {
                disposition: Disposition::Retry,
                class: Cow::Borrowed(short_type_name::<E>()),
                reason,
            },
        }
    }
}

fn disposition_of<E: Classify + ?Sized>(error: &E) -> Disposition {
    use hafnium_core::Outcome;
    if error.retryable() || error.outcome() == Outcome::Unknown {
        Disposition::Retry
    } else {
        Disposition::DeadLetter
    }
}

/// What an error of this house says of itself. A foreign type can't be asked: neither it nor the trait is ours.
fn own(error: &(dyn Error + 'static)) -> Option<(Disposition, &'static str)> {
    if let Some(error) = error.downcast_ref::<SendError>() {
        return Some((disposition_of(error), error.code()));
    }
    if let Some(error) = error.downcast_ref::<BreakerOpen>() {
        return Some((disposition_of(error), error.code()));
    }
    if let Some(error) = error.downcast_ref::<BulkheadFull>() {
        return Some((disposition_of(error), error.code()));
    }
    let error = error.downcast_ref::<DeadlineExceeded>()?;
    Some((disposition_of(error), error.code()))
}

/// `sqlx::error::Error` → `sqlx::error::Error`, `Wrapper<very::long::Type>` → `Wrapper`: bounded by the code's types.
fn short_type_name<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    name.split('<').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_core::{Classified, Fault, Outcome};

    fn parse(text: &str) -> Result<u32, Failure> {
        Ok(text.parse()?)
    }

    #[test]
    fn any_error_converts_and_is_retried() {
        let failure = parse("x").unwrap_err();
        assert_eq!(failure.disposition(), Disposition::Retry);
        assert_eq!(failure.class(), "core::num::error::ParseIntError");
        assert!(failure.reason().contains("invalid digit"));
    }

    #[test]
    fn the_reason_holds_the_whole_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("writing the score")]
        struct Outer(#[source] std::num::ParseIntError);
        let failure = Failure::from(Outer("x".parse::<u32>().unwrap_err()));
        assert_eq!(
            failure.reason(),
            "writing the score: invalid digit found in string"
        );
    }

    #[tokio::test]
    async fn what_a_bulkhead_refused_is_retried_under_its_own_class() {
        use hafnium_core::resilience::{Bulkhead, BulkheadSettings};
        let mut settings = BulkheadSettings::default();
        (settings.max_concurrent, settings.max_queued) = (1, 0);
        let bulkhead = Bulkhead::new("b", &settings);
        let _held = bulkhead.enter().await.unwrap();
        let refused = bulkhead.run(async { Ok::<_, std::io::Error>(()) }).await;
        let failure = Failure::from(refused.unwrap_err());
        assert_eq!(
            (failure.disposition(), failure.class()),
            (Disposition::Retry, "bulkhead.full")
        );
    }

    #[test]
    fn a_classified_error_is_retried_only_where_that_can_help() {
        struct Known(Classified);
        impl fmt::Display for Known {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("known")
            }
        }
        impl Classify for Known {
            fn outcome(&self) -> Outcome {
                self.0.outcome()
            }
            fn retryable(&self) -> bool {
                self.0.retryable()
            }
            fn fault(&self) -> Fault {
                self.0.fault()
            }
            fn code(&self) -> &'static str {
                self.0.code()
            }
        }
        let failure = |outcome, retryable| {
            Failure::classify(&Known(Classified::new(
                outcome,
                retryable,
                Fault::Dependency,
                "x.y",
            )))
        };
        assert_eq!(failure(Outcome::NotRun, true).disposition(), Disposition::Retry);
        assert_eq!(failure(Outcome::Unknown, false).disposition(), Disposition::Retry);
        let never = failure(Outcome::NotRun, false);
        assert_eq!(
            (never.disposition(), never.class()),
            (Disposition::DeadLetter, "x.y")
        );
    }
}
