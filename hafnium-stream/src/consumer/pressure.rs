//! Back-pressure: when to poll, when to hold off, and when to pause.
//!
//! Holding off costs nothing. Pausing throws away what was prefetched, but without polling no rebalance is served; so
//! a pause comes only after a while without room, and ends only once half of the room is free.

use std::time::Duration;

use tokio::time::Instant;

/// How long to hold off before pausing.
const PATIENCE: Duration = Duration::from_millis(200);

pub(crate) struct Pressure {
    most_records: usize,
    most_bytes: usize,
    records: usize,
    bytes: usize,
    full_since: Option<Instant>,
    paused: bool,
}

/// What the polling thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Poll.
    Poll,
    /// Wait for records to be done.
    Hold,
    /// Pause all partitions; poll for rebalances alone.
    Pause,
    /// Poll for rebalances alone: paused before.
    Paused,
    /// Resume all partitions and poll.
    Resume,
}

impl Pressure {
    pub(crate) fn new(most_records: usize, most_bytes: usize) -> Self {
        Self {
            most_records,
            most_bytes,
            records: 0,
            bytes: 0,
            full_since: None,
            paused: false,
        }
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn flow(&mut self, now: Instant) -> Flow {
        if self.paused {
            let relieved = self.records <= self.most_records / 2 && self.bytes <= self.most_bytes / 2;
            self.paused = !relieved;
            self.full_since = None;
            return if relieved { Flow::Resume } else { Flow::Paused };
        }
        if self.records < self.most_records && self.bytes < self.most_bytes {
            self.full_since = None;
            return Flow::Poll;
        }
        if now.saturating_duration_since(*self.full_since.get_or_insert(now)) < PATIENCE {
            return Flow::Hold;
        }
        self.paused = true;
        Flow::Pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_then_pauses_and_resumes_only_at_half() {
        let now = Instant::now();
        let mut pressure = Pressure::new(4, 1000);
        for _ in 0..4 {
            assert_eq!(pressure.flow(now), Flow::Poll);
            pressure.take(1);
        }
        assert_eq!(pressure.flow(now), Flow::Hold);
        pressure.give_back(1);
        assert_eq!(
            pressure.flow(now + PATIENCE * 2),
            Flow::Poll,
            "room in time: no pause"
        );
        pressure.take(1);
        assert_eq!(pressure.flow(now + PATIENCE * 2), Flow::Hold);
        assert_eq!(pressure.flow(now + PATIENCE * 3), Flow::Pause);
        pressure.give_back(1);
        assert_eq!(pressure.flow(now + PATIENCE * 4), Flow::Paused);
        pressure.give_back(1);
        assert_eq!(pressure.flow(now + PATIENCE * 5), Flow::Resume);
        assert_eq!(pressure.flow(now + PATIENCE * 6), Flow::Poll);
    }

    #[test]
    fn bytes_count_as_records_do() {
        let mut pressure = Pressure::new(100, 1000);
        pressure.take(1000);
        assert_eq!(pressure.flow(Instant::now()), Flow::Hold);
    }
}
