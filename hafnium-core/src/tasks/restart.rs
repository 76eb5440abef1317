//! When a task that ended is run again: a pure state machine with the time passed in.
//!
//! A failure is a panic or an `Err`. Each failure in a row doubles the wait before the next run; a run that lasted long
//! enough to be settled starts the count anew. Without a restart, or past the limit, a failure is fatal to the service.

use std::time::Duration;

/// Whether a task that ended is run again, after what wait, and how often.
///
/// [`Restart::never`] is the default everywhere: who restarts says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Restart {
    when: When,
    first: Duration,
    most: Duration,
    settled: Duration,
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Never,
    OnFailure,
    Always,
}

impl Default for Restart {
    fn default() -> Self {
        Self::never()
    }
}

impl Restart {
    /// A failure is fatal to the service; a task that ended well has ended.
    pub fn never() -> Self {
        Self {
            when: When::Never,
            first: Duration::from_millis(100),
            most: Duration::from_secs(30),
            settled: Duration::from_secs(60),
            limit: None,
        }
    }

    /// Run again after a failure, without a limit; a task that ended well has ended.
    pub fn on_failure() -> Self {
        Self {
            when: When::OnFailure,
            ..Self::never()
        }
    }

    /// Run again after every end, without a limit. After an end without a failure the first wait is kept.
    pub fn always() -> Self {
        Self {
            when: When::Always,
            ..Self::never()
        }
    }

    /// The wait after the first failure, doubled after each further one in a row up to `most`, of which at least half
    /// is kept (jitter). Default 100 ms and 30 s.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.first = first;
        self.most = most.max(first);
        self
    }

    /// How long a run must have lasted for the failures before it to be forgotten. Default 60 s.
    pub fn settled_after(mut self, settled: Duration) -> Self {
        self.settled = settled;
        self
    }

    /// After how many failures in a row the task is still run again; one more is fatal to the service. Default: no
    /// limit, because a failing dependency must not restart the process.
    pub fn limit(mut self, failures: u32) -> Self {
        self.limit = Some(failures);
        self
    }

    /// Whether a failure may be followed by another run.
    pub(super) fn restarts(&self) -> bool {
        self.when != When::Never
    }

    pub(super) fn settled(&self) -> Duration {
        self.settled
    }

    /// The wait after so many failures in a row. `random` is in 0..1.
    fn wait(&self, failures: u32, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let full = self.first.saturating_mul(doubled).min(self.most);
        full.mul_f64(0.5 + random / 2.0)
    }
}

/// What follows the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The task has ended.
    Finished,
    /// Another run after this wait.
    After(Duration),
    /// The failure is fatal.
    GiveUp,
}

/// The state machine of one task.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: Restart,
    failures: u32,
}

impl Restarts {
    pub(super) fn new(policy: Restart) -> Self {
        Self { policy, failures: 0 }
    }

    /// How many failures in a row there were.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes the end of a run that lasted `ran`. `random` is in 0..1.
    pub(super) fn ended(&mut self, failed: bool, ran: Duration, random: f64) -> Next {
        if !failed || ran >= self.policy.settled {
            self.failures = 0;
        }
        match (failed, self.policy.when) {
            (false, When::Always) => Next::After(self.policy.wait(1, random)),
            (false, _) => Next::Finished,
            (true, When::Never) => {
                self.failures = 1;
                Next::GiveUp
            }
            (true, _) => {
                self.failures = self.failures.saturating_add(1);
                if self.policy.limit.is_some_and(|limit| self.failures > limit) {
                    return Next::GiveUp;
                }
                Next::After(self.policy.wait(self.failures, random))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_doubles_up_to_its_most_and_a_settled_run_starts_anew() {
        let policy = Restart::on_failure().backoff(Duration::from_millis(100), Duration::from_secs(1));
        let mut task = Restarts::new(policy);
        let waits: Vec<Next> = (0..6).map(|_| task.ended(true, SHORT, 1.0)).collect();
        let after = |millis| Next::After(Duration::from_millis(millis));
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000].map(after));
        assert_eq!(task.ended(true, Duration::from_secs(60), 1.0), after(100));
        assert_eq!(task.ended(true, SHORT, 0.0), after(100), "at least half is kept");
        assert_eq!(task.ended(false, SHORT, 1.0), Next::Finished);
    }

    #[test]
    fn without_a_restart_a_failure_is_fatal_and_a_good_end_is_one() {
        assert_eq!(
            Restarts::new(Restart::never()).ended(true, SHORT, 0.5),
            Next::GiveUp
        );
        assert_eq!(
            Restarts::new(Restart::never()).ended(false, SHORT, 0.5),
            Next::Finished
        );
    }

    #[test]
    fn one_failure_more_than_the_limit_is_fatal() {
        let mut task = Restarts::new(Restart::on_failure().limit(2));
        assert!(matches!(task.ended(true, SHORT, 0.5), Next::After(_)));
        assert!(matches!(task.ended(true, SHORT, 0.5), Next::After(_)));
        assert_eq!(task.ended(true, SHORT, 0.5), Next::GiveUp);
        assert_eq!(task.failures(), 3);
    }

    proptest! {
        #[test]
        fn a_task_goes_on_within_its_limit_and_waits_within_its_bounds(
            ends in proptest::collection::vec((any::<bool>(), 0u64..120, 0.0f64..1.0), 1..200),
            always in any::<bool>(), limit in proptest::option::of(0u32..6),
        ) {
            let (first, most) = (Duration::from_millis(100), Duration::from_secs(30));
            let mut policy = if always { Restart::always() } else { Restart::on_failure() };
            policy.limit = limit;
            let mut task = Restarts::new(policy);
            let mut in_a_row = 0u32;
            for (failed, ran, random) in ends {
                let next = task.ended(failed, Duration::from_secs(ran), random);
                in_a_row = match (failed, ran >= 60) {
                    (false, _) => 0,
                    (true, true) => 1,
                    (true, false) => in_a_row + 1,
                };
                prop_assert_eq!(task.failures(), in_a_row);
                match next {
                    Next::Finished => prop_assert!(!failed && !always),
                    Next::GiveUp => prop_assert!(failed && limit.is_some_and(|limit| in_a_row > limit)),
                    Next::After(wait) => {
                        prop_assert!(failed || always);
                        prop_assert!(limit.is_none_or(|limit| in_a_row <= limit));
                        let full = first.saturating_mul(2u32.saturating_pow(in_a_row.max(1) - 1)).min(most);
                        prop_assert!(wait >= full / 2 && wait <= full, "{:?} of {:?}", wait, full);
                    }
                }
                if next == Next::GiveUp || next == Next::Finished { break; }
            }
        }
    }
}
