//! What retries count, resolved once per policy.

use super::decision::GiveUp;
use crate::metrics::{Counter, Metrics};

pub(super) struct Figures {
    retries: Counter,
    succeeded: Counter,
    given_up: [(GiveUp, Counter); GiveUp::ALL.len()],
}

impl Figures {
    pub(super) fn new(dependency: &str, metrics: &Metrics) -> Self {
        let retries = metrics.counter(
            "hafnium.retry.attempts",
            "{attempt}",
            "Attempts that repeated a failed one",
        );
        let results = metrics.counter(
            "hafnium.retry.results",
            "{call}",
            "Calls of which an attempt failed, by what became of them",
        );
        let result = |result| results.with(&[("dependency", dependency), ("result", result)]);
        Self {
            retries: retries.with(&[("dependency", dependency)]),
            succeeded: result("succeeded"),
            given_up: GiveUp::ALL.map(|reason| (reason, result(reason.as_str()))),
        }
    }

    pub(super) fn retried(&self) {
        self.retries.add(1);
    }

    /// A call that failed at first did succeed.
    pub(super) fn succeeded(&self) {
        self.succeeded.add(1);
    }

    pub(super) fn gave_up(&self, reason: GiveUp) {
        for (known, counter) in &self.given_up {
            if *known == reason {
                counter.add(1);
            }
        }
    }
}
