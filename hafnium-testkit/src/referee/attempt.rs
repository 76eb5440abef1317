//! One try to write one id.

use std::time::{Duration, Instant};

/// What the client was told in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It is done.
    Acknowledged,
    /// It certainly has no effect: not run, or rolled back.
    NotRun,
    /// It may or may not have had an effect.
    Unknown,
}

/// One try to write one id, as the client saw it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The effect that was wanted.
    pub id: u64,
    /// When the client began.
    pub started: Instant,
    /// When it was told; `None` while it waits.
    pub ended: Option<Instant>,
    /// What it was told; `None` while it waits.
    pub ending: Option<Ending>,
}

impl Attempt {
    /// How long the client waited, until now if it still does.
    pub fn took(&self) -> Duration {
        self.ended
            .unwrap_or_else(Instant::now)
            .saturating_duration_since(self.started)
    }
}
