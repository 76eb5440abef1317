//! What a breaker records, resolved once.

use super::machine::BreakerState;
use crate::metrics::{Counter, Gauge, Metrics};

pub(super) struct Figures {
    states: [(BreakerState, Gauge, Counter); BreakerState::ALL.len()],
    rejected: Counter,
}

impl Figures {
    /// Shows the state from now on.
    pub(super) fn new(breaker: &str, metrics: &Metrics) -> Self {
        let state = metrics.gauge(
            "hafnium.breaker.state",
            "{state}",
            "1 for the state the breaker is in, 0 for the others",
        );
        let transitions = metrics.counter(
            "hafnium.breaker.transitions",
            "{transition}",
            "Changes of the breaker to a state",
        );
        let rejected = metrics.counter(
            "hafnium.breaker.rejected",
            "{call}",
            "Calls that the breaker did not let through",
        );
        let figures = Self {
            states: BreakerState::ALL.map(|one| {
                let labels = [("breaker", breaker), ("state", one.as_str())];
                (one, state.with(&labels), transitions.with(&labels))
            }),
            rejected: rejected.with(&[("breaker", breaker)]),
        };
        figures.show(BreakerState::Closed);
        figures
    }

    pub(super) fn changed(&self, to: BreakerState) {
        self.show(to);
        for (one, _, transitions) in &self.states {
            if *one == to {
                transitions.add(1);
            }
        }
    }

    pub(super) fn rejected(&self) {
        self.rejected.add(1);
    }

    fn show(&self, present: BreakerState) {
        for (one, state, _) in &self.states {
            state.set(if *one == present { 1.0 } else { 0.0 });
        }
    }
}
