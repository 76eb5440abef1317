//! Whether a failed attempt is followed by another one, and after what pause: without clock, budget or waiting.

use std::time::Duration;

use super::settings::RetrySettings;
use crate::classify::{Classify, Outcome};
use crate::resilience::backoff::full_jitter;

/// How much later than asked a timer of tokio may fire: it counts in milliseconds, rounded up.
const TICK: Duration = Duration::from_millis(1);

/// The settings as they are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    max_attempts: u32,
    backoff: Duration,
    max_backoff: Duration,
    max_retry_after: Duration,
}

impl From<&RetrySettings> for Rules {
    fn from(settings: &RetrySettings) -> Self {
        Self {
            max_attempts: settings.max_attempts,
            backoff: settings.backoff.get(),
            max_backoff: settings.max_backoff.get(),
            max_retry_after: settings.max_retry_after.get(),
        }
    }
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// The error says that repeating is in vain or could do the thing twice.
    NotRetryable,
    /// That was the last attempt.
    Attempts,
    /// The dependency wants to be left alone for longer than anyone waits here.
    RetryAfter,
    /// The pause would end behind the deadline.
    Deadline,
    /// The budget has no token left.
    Budget,
}

impl GiveUp {
    pub(super) const ALL: [Self; 5] = [
        Self::NotRetryable,
        Self::Attempts,
        Self::RetryAfter,
        Self::Deadline,
        Self::Budget,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::Attempts => "attempts_exhausted",
            Self::RetryAfter => "retry_after_too_long",
            Self::Deadline => "deadline",
            Self::Budget => "budget_exhausted",
        }
    }
}

/// Whether repeating may help and can't do the thing twice.
fn may_repeat<E: Classify>(error: &E, idempotent: bool) -> bool {
    let certain = matches!(error.outcome(), Outcome::NotRun | Outcome::RolledBack);
    error.retryable() && (certain || idempotent)
}

/// What to do after attempt number `attempt` (from 1) failed with `error`, when `left` is left until the deadline.
pub(super) fn decide<E: Classify>(
    rules: &Rules,
    error: &E,
    idempotent: bool,
    attempt: u32,
    left: Option<Duration>,
    random: f64,
) -> Result<Duration, GiveUp> {
    if !may_repeat(error, idempotent) {
        return Err(GiveUp::NotRetryable);
    }
    if attempt >= rules.max_attempts {
        return Err(GiveUp::Attempts);
    }
    let mut pause = full_jitter(rules.backoff, rules.max_backoff, attempt, random);
    if let Some(asked) = error.retry_after() {
        if asked > rules.max_retry_after {
            return Err(GiveUp::RetryAfter);
        }
        // On top of it, or all that were told the same time would come back together.
        pause += asked;
    }
    if left.is_some_and(|left| pause + TICK >= left) {
        return Err(GiveUp::Deadline);
    }
    Ok(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Classified, Fault};
    use proptest::prelude::*;

    struct Asks(Classified, Option<Duration>);
    impl Classify for Asks {
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
        fn retry_after(&self) -> Option<Duration> {
            self.1
        }
    }

    fn error(outcome: Outcome, retryable: bool) -> Classified {
        Classified::new(outcome, retryable, Fault::Dependency, "x")
    }

    fn rules() -> Rules {
        Rules::from(&RetrySettings::default())
    }

    #[test]
    fn only_what_certainly_did_not_happen_is_repeated_unless_declared_idempotent() {
        let repeated = |outcome, retryable, idempotent| {
            decide(&rules(), &error(outcome, retryable), idempotent, 1, None, 0.5).is_ok()
        };
        for certain in [Outcome::NotRun, Outcome::RolledBack] {
            assert!(repeated(certain, true, false) && repeated(certain, true, true));
        }
        assert!(!repeated(Outcome::Unknown, true, false));
        assert!(repeated(Outcome::Unknown, true, true));
        for outcome in [Outcome::NotRun, Outcome::RolledBack, Outcome::Unknown] {
            assert!(!repeated(outcome, false, false) && !repeated(outcome, false, true));
        }
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_and_jitter_comes_on_top() {
        let asks = |seconds| Asks(error(Outcome::NotRun, true), Some(Duration::from_secs(seconds)));
        let pause = |random| decide(&rules(), &asks(1), false, 1, None, random).unwrap();
        assert_eq!(pause(0.0), Duration::from_secs(1));
        assert_eq!(pause(1.0), Duration::from_millis(1050));
        assert_eq!(
            decide(&rules(), &asks(3), false, 1, None, 0.5),
            Err(GiveUp::RetryAfter)
        );
    }

    proptest! {
        #[test]
        fn a_pause_always_ends_before_the_deadline_and_attempts_are_bounded(
            attempt in 1u32..10, left in 0u64..5_000, asked in proptest::option::of(0u64..5_000), random in 0.0f64..1.0,
        ) {
            let left = Duration::from_millis(left);
            let asks = Asks(error(Outcome::NotRun, true), asked.map(Duration::from_millis));
            match decide(&rules(), &asks, false, attempt, Some(left), random) {
                Ok(pause) => {
                    prop_assert!(pause + TICK < left && attempt < 3);
                    prop_assert!(asked.is_none_or(|asked| pause >= Duration::from_millis(asked)));
                }
                Err(reason) => prop_assert_eq!(reason == GiveUp::Attempts, attempt >= 3),
            }
        }
    }
}
