//! Accounts for every write of a run.
//!
//! Clients under test report to a [`Witness`] what they attempt and what they are told; after the run the referee is
//! given what the servers really hold, read by a raw driver, and gives its [`Verdict`]. It shares no code with the
//! clients and reads none of their metrics.
//!
//! An id stands for one effect. It may be attempted several times (a caller's retry), but must be applied at most once.

mod attempt;
mod figures;
mod ledger;
mod samples;
mod verdict;
mod witness;

pub use attempt::{Attempt, Ending};
pub use figures::{Figures, Row};
pub use samples::Samples;
pub use verdict::Verdict;
pub use witness::{ReadCheck, Ticket, Witness};

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::Ledger;

/// The referee of one run.
///
/// ```
/// use hafnium_testkit::Referee;
///
/// let referee = Referee::new();
/// let witness = referee.witness();
/// for id in 1..=3 {
///     let ticket = witness.attempt(id);
///     // .. the client under test writes `id` and says that it is done ..
///     ticket.acknowledged();
/// }
/// // What a raw driver found in the table afterwards: 2 is missing, 3 is there twice.
/// let verdict = referee.verdict([(1, 1), (3, 2)]);
/// assert!(verdict.is_red());
/// assert_eq!((verdict.lost, verdict.doubled), (vec![2], vec![3]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Referee {
    ledger: Arc<Ledger>,
}

impl Referee {
    /// A referee that has seen nothing yet.
    pub fn new() -> Referee {
        Referee::default()
    }

    /// What clients report to. Cheap to clone.
    pub fn witness(&self) -> Witness {
        Witness::new(self.ledger.clone())
    }

    /// The verdict, given what was applied: each id found, and how many times. An id may be listed several times,
    /// then its counts add up.
    pub fn verdict(&self, applied: impl IntoIterator<Item = (u64, u64)>) -> Verdict {
        Verdict::of(&self.ledger.attempts(), &self.ledger.missed(), applied)
    }

    /// Every attempt so far, in the order of their start: for questions that the verdict does not answer, such as
    /// which failures started after an instant.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.ledger.attempts()
    }

    /// From `instant` to the first acknowledgement after it; `None` when there was none.
    pub fn first_acknowledged_after(&self, instant: Instant) -> Option<Duration> {
        self.acknowledgements()
            .into_iter()
            .find_map(|at| at.checked_duration_since(instant))
    }

    /// The longest time without an acknowledgement between `from` and `to`, both of which count as edges.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut edges: Vec<_> = self
            .acknowledgements()
            .into_iter()
            .filter(|at| *at > from && *at < to)
            .collect();
        edges.insert(0, from);
        edges.push(to);
        edges
            .windows(2)
            .map(|pair| pair[1].saturating_duration_since(pair[0]))
            .max()
            .unwrap_or_default()
    }

    /// How many attempts took longer than `limit` to get any answer; those without an answer count once they are late.
    pub fn longer_than(&self, limit: Duration) -> usize {
        self.ledger
            .attempts()
            .iter()
            .filter(|attempt| attempt.took() > limit)
            .count()
    }

    fn acknowledgements(&self) -> Vec<Instant> {
        let mut at: Vec<_> = self
            .ledger
            .attempts()
            .iter()
            .filter(|attempt| attempt.ending == Some(Ending::Acknowledged))
            .filter_map(|attempt| attempt.ended)
            .collect();
        at.sort_unstable();
        at
    }
}
