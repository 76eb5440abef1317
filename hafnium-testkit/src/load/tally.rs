//! The account of a load.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Kind;
use crate::referee::Row;

/// How a load ended. Prints as one line of a table, with what failed below it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tally {
    /// How the clients spoke.
    pub kind: Kind,
    /// Requests that left.
    pub sent: u64,
    /// Requests that were answered with 2xx.
    pub ok: u64,
    /// Each of the others, with its reason.
    pub failed: Vec<Failed>,
    /// The same by phase, in the order in which they were entered.
    pub phases: Vec<Phase>,
    /// Connections that were opened.
    pub connections: u64,
    /// Answers that said `Connection: close`.
    pub told_to_close: u64,
}

/// A request that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failed {
    /// The phase in which it was sent.
    pub phase: &'static str,
    /// What happened.
    pub reason: String,
}

/// What was sent in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Requests that left.
    pub sent: u64,
    /// Requests that were answered with 2xx.
    pub ok: u64,
    /// Answers that said `Connection: close`.
    pub told_to_close: u64,
}

impl Tally {
    /// The phase of that name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// The figure `requests_failed_during_sigterm` of this kind of client; the target is 0. A load of which a phase sent
    /// nothing counts as not run.
    pub fn failed_during_sigterm(&self) -> Row {
        let ran = self.phases.iter().all(|phase| phase.sent > 0);
        let failed = ran.then_some(self.failed.len() as f64);
        Row::new("requests_failed_during_sigterm", self.kind.as_str(), failed, "").exactly(0.0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<15} {:>6} sent {:>6} ok {:>4} failed {:>6} connections ",
            self.kind.as_str(),
            self.sent,
            self.ok,
            self.failed.len(),
            self.connections
        )?;
        for Phase { name, sent, .. } in &self.phases {
            write!(f, " {name} {sent}")?;
        }
        for Failed { phase, reason } in self.failed.iter().take(5) {
            write!(f, "\n    {phase}: {reason}")?;
        }
        Ok(())
    }
}

/// The account while it is made.
pub(super) struct Count {
    state: Mutex<Tally>,
}

impl Count {
    pub(super) fn new(kind: Kind) -> Count {
        Count {
            state: Mutex::new(Tally {
                kind,
                sent: 0,
                ok: 0,
                failed: Vec::new(),
                phases: vec![Phase::new("before")],
                connections: 0,
                told_to_close: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, Tally> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: &'static str) {
        self.state().phases.push(Phase::new(phase));
    }

    /// A request is about to leave; gives the phase it belongs to.
    pub(super) fn sending(&self) -> usize {
        let mut state = self.state();
        state.sent += 1;
        let phase = state.phases.len() - 1;
        state.phases[phase].sent += 1;
        phase
    }

    /// It did not leave after all.
    pub(super) fn unsent(&self, phase: usize) {
        let mut state = self.state();
        state.sent -= 1;
        state.phases[phase].sent -= 1;
    }

    pub(super) fn ok(&self, phase: usize, closes: bool) {
        let mut state = self.state();
        state.ok += 1;
        state.phases[phase].ok += 1;
        state.told_to_close += u64::from(closes);
        state.phases[phase].told_to_close += u64::from(closes);
    }

    pub(super) fn failed(&self, phase: usize, reason: String) {
        let mut state = self.state();
        let phase = state.phases[phase].name;
        state.failed.push(Failed { phase, reason });
    }

    pub(super) fn connected(&self) {
        self.state().connections += 1;
    }

    pub(super) fn answered(&self) -> u64 {
        self.state().ok
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().clone()
    }
}

impl Phase {
    fn new(name: &'static str) -> Phase {
        Phase {
            name,
            sent: 0,
            ok: 0,
            told_to_close: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_without_load_is_not_run_and_never_a_pass() {
        let count = Count::new(Kind::Http2);
        let phase = count.sending();
        count.ok(phase, false);
        assert!(count.tally().failed_during_sigterm().pass);
        count.enter("during");
        assert!(!count.tally().failed_during_sigterm().pass);
        let phase = count.sending();
        count.failed(phase, "refused".into());
        let tally = count.tally();
        assert_eq!(tally.failed_during_sigterm().value, Some(1.0));
        assert!(!tally.failed_during_sigterm().pass);
        assert!(tally.to_string().contains("during: refused"), "{tally}");
    }
}
