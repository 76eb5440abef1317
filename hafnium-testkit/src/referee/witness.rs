//! What clients report to.

use std::sync::Arc;

use super::attempt::Ending;
use super::ledger::Ledger;

/// Writes down what a client does. Cheap to clone; a report costs a short lock.
#[derive(Clone, Debug)]
pub struct Witness {
    ledger: Arc<Ledger>,
}

/// An attempt that waits for its ending. Dropped without one, for instance with a cancelled request, it is unknown.
#[derive(Debug)]
#[must_use = "an attempt that is dropped at once counts as unknown"]
pub struct Ticket {
    ledger: Arc<Ledger>,
    place: usize,
    open: bool,
}

/// A read that has begun.
#[derive(Debug)]
#[must_use = "a read proves something only with its answer"]
pub struct ReadCheck {
    ledger: Arc<Ledger>,
    id: u64,
    acknowledged_before: bool,
}

impl Witness {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Witness {
        Witness { ledger }
    }

    /// To be called right before the client under test is.
    pub fn attempt(&self, id: u64) -> Ticket {
        Ticket {
            place: self.ledger.begin(id),
            ledger: self.ledger.clone(),
            open: true,
        }
    }

    /// To be called right before a read of `id` that promises to see what was acknowledged before.
    pub fn read(&self, id: u64) -> ReadCheck {
        ReadCheck {
            id,
            acknowledged_before: self.ledger.is_acknowledged(id),
            ledger: self.ledger.clone(),
        }
    }
}

impl Ticket {
    /// The client said: done.
    pub fn acknowledged(self) {
        self.end(Ending::Acknowledged);
    }

    /// The client said: certainly without effect (not run, or rolled back).
    pub fn not_run(self) {
        self.end(Ending::NotRun);
    }

    /// The client said: cannot know.
    pub fn unknown(self) {
        self.end(Ending::Unknown);
    }

    fn end(mut self, ending: Ending) {
        self.open = false;
        self.ledger.end(self.place, ending);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.ledger.end(self.place, Ending::Unknown);
        }
    }
}

impl ReadCheck {
    /// The read returned the write.
    pub fn found(self) {}

    /// The read did not return the write: stale, when it had been acknowledged before the read began.
    pub fn absent(self) {
        if self.acknowledged_before {
            self.ledger.missed_by_read(self.id);
        }
    }
}
