//! Whether a failed operation is tried again, and when. Pure.
//!
//! Rule zero: only what certainly did not happen, or was certainly undone, is repeated; or what the caller declared
//! harmless to repeat.

use std::time::Duration;

use hafnium_core::Outcome;

use super::error::Detail;
use super::sqlstate::Verdict;
use super::topology::NodeId;

/// What the caller declared of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Repeatable {
    /// Nothing: an unknown outcome is surfaced.
    #[default]
    WhenCertain,
    /// Running it twice does no harm: it is idempotent, or only reads.
    Always,
}

/// The tries of one operation so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    made: u32,
    /// The node that said it is read-only although it was the primary.
    read_only: Option<NodeId>,
    /// What repeating once did not help against.
    once: Option<&'static str>,
    /// Where it failed so far; another replica may answer where one can't (40001 by a conflict with its replay).
    avoided: Vec<NodeId>,
    /// The node of a try that may have taken effect.
    doubt: Option<String>,
}

/// More tries than this only happen when something answers wrongly at once, each time.
const MOST: u32 = 20;

impl Attempts {
    /// The nodes that a read should not go to again, if there are others.
    pub(crate) fn avoided(&self) -> &[NodeId] {
        &self.avoided
    }

    /// A try on `node` is repeated although it may have taken effect.
    pub(crate) fn doubt(&mut self, node: &str) {
        self.doubt = Some(node.to_owned());
    }

    /// What to surface in the place of a last error of `outcome` that says `reason`: what is certain of the last try says
    /// nothing of one before it that may have taken effect.
    pub(crate) fn in_vain(&mut self, outcome: Outcome, reason: &dyn ToString) -> Option<Detail> {
        if outcome == Outcome::Unknown {
            return None;
        }
        let node = self.doubt.take()?;
        let reason = reason.to_string();
        Some(Detail::EarlierTry { node, reason })
    }

    /// The pause before the next try, or `None` to surface the error. `remaining` is what is left of the deadline.
    pub(crate) fn next(
        &mut self,
        verdict: &Verdict,
        repeatable: Repeatable,
        node: Option<NodeId>,
        remaining: Duration,
    ) -> Option<Duration> {
        let harmless = verdict.outcome != Outcome::Unknown || repeatable == Repeatable::Always;
        if !verdict.transient || !harmless || self.made >= MOST {
            return None;
        }
        if verdict.once && self.once.replace(verdict.code) == Some(verdict.code) {
            return None;
        }
        if verdict.refuses_writes() {
            // The same node again, after the monitor confirmed it: the statement or the server is read-only by
            // setting, and no failover will change it.
            if node.is_some() && self.read_only == node {
                return None;
            }
            self.read_only = node;
        }
        self.avoided.extend(node);
        // The first retry goes at once, but for rivals, who would meet again: after a failover the router has waited for
        // the new primary already.
        let ceiling = match self.made {
            0 if !verdict.is_conflict() => 0,
            made => 5_000_u64 << made.min(5),
        };
        self.made += 1;
        let pause = Duration::from_micros(fastrand::u64(0..=ceiling));
        (pause < remaining).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::sqlstate::{Stage, verdict};

    const LONG: Duration = Duration::from_secs(5);

    fn tries(state: &str, stage: Stage, repeatable: Repeatable) -> bool {
        let verdict = verdict(state, stage);
        Attempts::default()
            .next(&verdict, repeatable, Some(NodeId(0)), LONG)
            .is_some()
    }

    #[test]
    fn certain_and_transient_is_repeated_and_unknown_only_when_declared() {
        assert!(tries("57P03", Stage::Statement, Repeatable::WhenCertain));
        assert!(tries("40001", Stage::Commit, Repeatable::WhenCertain));
        assert!(!tries("57P01", Stage::Commit, Repeatable::WhenCertain));
        assert!(tries("57P01", Stage::Commit, Repeatable::Always));
        assert!(!tries("23505", Stage::Statement, Repeatable::Always));
    }

    #[test]
    fn a_primary_that_is_read_only_by_setting_is_asked_twice_and_no_more() {
        let verdict = verdict("25006", Stage::Statement);
        let mut attempts = Attempts::default();
        let mut next = |node| attempts.next(&verdict, Repeatable::WhenCertain, Some(NodeId(node)), LONG);
        assert!(next(0).is_some());
        assert!(next(1).is_some(), "another node is another answer");
        assert!(next(1).is_none());
    }

    #[test]
    fn what_repeating_does_not_help_against_is_repeated_once() {
        let mut attempts = Attempts::default();
        let mut next = |state| {
            let verdict = verdict(state, Stage::Statement);
            attempts.next(&verdict, Repeatable::WhenCertain, Some(NodeId(0)), LONG)
        };
        assert!(next("26000").is_some());
        assert!(next("0A000").is_some(), "another reason");
        assert!(next("0A000").is_none());
        assert!(!tries("08P01", Stage::Statement, Repeatable::WhenCertain));
        assert!(tries("08P01", Stage::Statement, Repeatable::Always));
    }

    #[test]
    fn a_try_that_may_have_taken_effect_is_remembered_until_the_end() {
        let mut attempts = Attempts::default();
        assert!(attempts.in_vain(Outcome::NotRun, &"no node").is_none());
        attempts.doubt("a:5432");
        assert!(attempts.in_vain(Outcome::Unknown, &"lost again").is_none());
        for outcome in [Outcome::NotRun, Outcome::RolledBack] {
            attempts.doubt("a:5432");
            let told = attempts.in_vain(outcome, &"no node").unwrap();
            assert_eq!(
                told.to_string(),
                "an earlier try on a:5432 may have taken effect, and the next one failed: no node"
            );
        }
    }

    #[test]
    fn tries_end_with_the_deadline_and_after_twenty() {
        let verdict = verdict("40001", Stage::Statement);
        let mut attempts = Attempts::default();
        assert!(
            attempts
                .next(&verdict, Repeatable::WhenCertain, None, Duration::ZERO)
                .is_none()
        );
        let mut attempts = Attempts::default();
        let made = (0..100).filter(|_| {
            attempts
                .next(&verdict, Repeatable::WhenCertain, None, LONG)
                .is_some()
        });
        assert_eq!(made.count(), MOST as usize);
    }
}
