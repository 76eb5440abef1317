//! What an error of sqlx means, whether it is the server's, the network's or our own.

use std::io;

use hafnium_core::{Classified, Classify, Fault, Outcome};

use super::error::{Detail, detail};
use super::sqlstate::{self, Consequence, Stage, Verdict};

/// A connection that was lost under an operation of a handle. Marked by its type, so that a transaction around the
/// operation does not take it for the loss of its own connection, which would mean that everything was undone.
#[derive(Debug, thiserror::Error)]
#[error("connection to {node} was lost: {reason}")]
struct LostByHandle {
    node: String,
    reason: io::Error,
}

/// `error` of an operation of a handle; a lost connection is marked, and means what it meant.
pub(crate) fn of_handle(node: &str, error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Io(reason) if reason.get_ref().is_none_or(|inner| !inner.is::<Detail>()) => {
            let node = node.to_owned();
            io::Error::new(reason.kind(), LostByHandle { node, reason }).into()
        }
        error => error,
    }
}

/// What was seen, if `error` is a lost connection that no handle was asked to use: in the closure of a transaction
/// most likely that of the transaction.
pub(crate) fn raw_loss(error: &sqlx::Error) -> Option<&io::Error> {
    let ours = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
        inner.is::<Detail>() || inner.is::<LostByHandle>()
    };
    match error {
        sqlx::Error::Io(io) if !io.get_ref().is_some_and(ours) => Some(io),
        _ => None,
    }
}

/// Did it happen, may it be repeated, whose fault is it: the house's answer for an error of sqlx.
///
/// It knows the error alone: [`sqlx::Error::RowNotFound`] says that the statement ran, which is *unknown* here; returned by
/// [`transaction`](super::Postgres::transaction) it is the answer of the closure, and the transaction was rolled back.
///
/// A function, because neither [`Classify`] nor [`sqlx::Error`] belongs to this crate. [`Error`] is the same for code
/// that wants a type.
///
/// ```
/// use hafnium_core::{Classify, Outcome};
/// use hafnium_data::postgres::classify;
///
/// let answer = classify(&sqlx::Error::PoolTimedOut);
/// assert_eq!(answer.outcome(), Outcome::NotRun);
/// assert!(answer.retryable());
/// ```
pub fn classify(error: &sqlx::Error) -> Classified {
    let verdict = verdict(error, Stage::Statement);
    let retryable = verdict.transient && verdict.outcome != Outcome::Unknown;
    Classified::new(verdict.outcome, retryable, verdict.fault, verdict.code)
}

/// An [`sqlx::Error`] that implements [`Classify`], for signatures that want both.
#[derive(Debug, thiserror::Error)]
#[error("{} ({})", classify(.0).code(), classify(.0).outcome().as_str())]
pub struct Error(#[from] sqlx::Error);

impl Error {
    /// The error of sqlx.
    pub fn get(&self) -> &sqlx::Error {
        &self.0
    }

    /// The error of sqlx, owned.
    pub fn into_inner(self) -> sqlx::Error {
        self.0
    }
}

impl Classify for Error {
    fn outcome(&self) -> Outcome {
        classify(&self.0).outcome()
    }
    fn retryable(&self) -> bool {
        classify(&self.0).retryable()
    }
    fn fault(&self) -> Fault {
        classify(&self.0).fault()
    }
    fn code(&self) -> &'static str {
        classify(&self.0).code()
    }
}

/// What became of the transaction that ended with `error`. An answer that a row was not there, or an error that is not the
/// database's, only ended the closure.
pub(crate) fn of_transaction(error: &(dyn std::error::Error + 'static)) -> Outcome {
    match find(error) {
        Some(sqlx::Error::RowNotFound) | None => Outcome::RolledBack,
        Some(error) => classify(error).outcome(),
    }
}

/// What `error` means when it came at `stage`.
pub(crate) fn verdict(error: &sqlx::Error, stage: Stage) -> Verdict {
    let of = |outcome, transient, consequence, fault, code| Verdict {
        outcome,
        transient,
        once: false,
        consequence,
        fault,
        code,
    };
    use Consequence::{Discard, Keep, Suspect};
    use Fault::{Capacity, Dependency, Service};
    match error {
        sqlx::Error::Database(database) => {
            let state = database.code().unwrap_or_default();
            let message = database.message();
            // Functions that need a primary answer 55000 instead of 25006; the code has other uses.
            if state == "55000" && message.contains("recovery is in progress") {
                sqlstate::verdict("25006", stage)
            } else if state == "0A000" && !message.contains("cached plan must not change result type") {
                // What the server can't do at all.
                sqlstate::verdict("", stage)
            } else {
                sqlstate::verdict(&state, stage)
            }
        }
        sqlx::Error::Io(io) => match detail(error) {
            Some(detail) => detail.verdict(),
            None if io.kind() == io::ErrorKind::ConnectionRefused => of(
                Outcome::NotRun,
                true,
                Suspect,
                Dependency,
                "postgres.connection_refused",
            ),
            // sqlx does not say whether a byte was written, so nothing is assumed.
            None => of(
                Outcome::Unknown,
                true,
                Suspect,
                Dependency,
                "postgres.connection_lost",
            ),
        },
        sqlx::Error::Tls(_) => of(Outcome::NotRun, false, Suspect, Dependency, "postgres.tls"),
        sqlx::Error::Protocol(_) => of(Outcome::Unknown, false, Discard, Dependency, "postgres.protocol"),
        sqlx::Error::Configuration(_) => {
            of(Outcome::NotRun, false, Discard, Service, "postgres.configuration")
        }
        sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_) | sqlx::Error::TypeNotFound { .. } => {
            of(Outcome::NotRun, false, Discard, Service, "postgres.encode")
        }
        sqlx::Error::PoolTimedOut => of(Outcome::NotRun, true, Discard, Capacity, "postgres.pool_timeout"),
        sqlx::Error::PoolClosed => of(Outcome::NotRun, false, Discard, Service, "postgres.closed"),
        // The statement ran; what it did stands.
        sqlx::Error::RowNotFound => of(
            Outcome::Unknown,
            false,
            Keep,
            Fault::Caller,
            "postgres.row_not_found",
        ),
        sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => of(Outcome::Unknown, false, Discard, Service, "postgres.decode"),
        _ => of(Outcome::Unknown, false, Discard, Service, "postgres.other"),
    }
}

/// The error of sqlx that `error` is or was made from.
pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a sqlx::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lost() -> sqlx::Error {
        io::Error::from(io::ErrorKind::UnexpectedEof).into()
    }

    #[test]
    fn a_lost_connection_is_unknown_and_not_retryable_as_it_is() {
        let answer = classify(&lost());
        assert_eq!(answer.outcome(), Outcome::Unknown);
        assert!(!answer.retryable());
        assert_eq!(answer.code(), "postgres.connection_lost");
    }

    #[test]
    fn our_own_errors_are_found_again_inside_the_error_of_sqlx() {
        let error = sqlx::Error::from(Detail::Deadline {
            waited_for: "a reply",
            waited: Duration::from_secs(5),
            outcome: Outcome::RolledBack,
        });
        assert!(matches!(detail(&error), Some(Detail::Deadline { .. })));
        assert_eq!(classify(&error).outcome(), Outcome::RolledBack);
        assert!(classify(&error).retryable());
        assert!(detail(&lost()).is_none());
        let told = sqlx::Error::from(Detail::LostBeforeCommit {
            node: "a:5432".into(),
            reason: "end of file".into(),
        });
        assert_eq!(classify(&told).outcome(), Outcome::RolledBack);
        assert!(classify(&told).retryable());
    }

    #[test]
    fn a_loss_under_a_handle_means_the_same_and_is_told_from_that_of_a_bare_connection() {
        assert!(raw_loss(&lost()).is_some());
        let marked = of_handle("a:5432", lost());
        assert!(raw_loss(&marked).is_none() && detail(&marked).is_none());
        assert_eq!(
            verdict(&marked, Stage::Statement),
            verdict(&lost(), Stage::Statement)
        );
        assert!(marked.to_string().contains("a:5432"), "{marked}");
        let refused = of_handle("a:5432", io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert_eq!(classify(&refused).outcome(), Outcome::NotRun);
        let told = of_handle("a:5432", Detail::Closed.into());
        assert!(matches!(detail(&told), Some(Detail::Closed)));
        assert!(raw_loss(&told).is_none());
        assert!(raw_loss(&sqlx::Error::RowNotFound).is_none());
    }

    #[test]
    fn an_error_of_sqlx_is_found_through_the_sources_of_others() {
        #[derive(Debug, thiserror::Error)]
        #[error("scoring failed")]
        struct Scoring(#[from] Error);
        let outer = Scoring(Error(sqlx::Error::RowNotFound));
        assert!(matches!(find(&outer), Some(sqlx::Error::RowNotFound)));
        assert!(find(&io::Error::other("else")).is_none());
    }

    #[test]
    fn the_text_of_the_newtype_does_not_repeat_its_source() {
        let error = Error(lost());
        assert_eq!(error.to_string(), "postgres.connection_lost (unknown)");
    }
}
