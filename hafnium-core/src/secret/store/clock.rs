//! The age of what was changed before this process began, on a clock that tests can pause.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The wall clock as it was once, moved on by tokio's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall: SystemTime,
    at: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            wall: SystemTime::now(),
            at: Instant::now(),
        }
    }

    /// The wall clock at `now`.
    pub(super) fn wall(&self, now: Instant) -> SystemTime {
        self.wall + now.saturating_duration_since(self.at)
    }

    /// How long before `now` that was; nothing for what lies ahead, as a clock elsewhere may have it.
    pub(super) fn age(&self, then: SystemTime, now: Instant) -> Duration {
        self.wall(now).duration_since(then).unwrap_or_default()
    }
}
