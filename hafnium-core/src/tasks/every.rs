//! Periodic tasks: when the next run is due, as a pure function of the time.
//!
//! The ticks lie on a grid from the start, so that the period holds however long a run takes. Runs never overlap: ticks
//! that pass while one is under way are skipped, not made up for.

use std::time::Duration;

use tokio::time::Instant;

use super::restart::Restart;

/// A grid finer than this would be a busy loop.
const LEAST_PERIOD: Duration = Duration::from_millis(1);

/// How often a periodic task runs and how long a run may take. A [`Duration`] converts into one with the defaults.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Every {
    pub(super) period: Duration,
    pub(super) jitter: f64,
    pub(super) timeout: Duration,
    pub(super) at_once: bool,
    pub(super) restart: Restart,
}

impl From<Duration> for Every {
    fn from(period: Duration) -> Self {
        Self::new(period)
    }
}

impl Every {
    /// A run per `period`, which is at least 1 ms, the first one after the first period.
    pub fn new(period: Duration) -> Self {
        let period = period.max(LEAST_PERIOD);
        Self {
            period,
            jitter: 0.1,
            timeout: period,
            at_once: false,
            restart: Restart::never(),
        }
    }

    /// Each run is up to this part of the period later than its tick, by chance, so that replicas do not run in step.
    /// Default 0.1; at most 1.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// How long one run may take; default: one period. Then it is dropped at its next await and has failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The first run is at once.
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// What a failed run means. By default ([`Restart::never`]) a panic is fatal to the service, an `Err` or a timeout is
    /// counted and logged, shows in the task's health check, and the next tick comes. With another policy a panic is a
    /// failure like the others: the next tick is no earlier than the policy's wait, and more failures in a row than its
    /// limit are fatal.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }
}

/// The ticks of a periodic task.
#[derive(Debug)]
pub(super) struct Grid {
    begun: Instant,
    period: Duration,
    /// The number of the last tick that was given out.
    last: u32,
}

/// The next tick, and how many before it were passed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) at: Instant,
    pub(super) skipped: u32,
}

impl Grid {
    pub(super) fn new(begun: Instant, period: Duration) -> Self {
        Self {
            begun,
            period: period.max(LEAST_PERIOD),
            last: 0,
        }
    }

    /// The first tick after `now` that was not given out yet.
    pub(super) fn next(&mut self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.begun).as_nanos() / self.period.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let next = passed.max(self.last).saturating_add(1);
        let skipped = next - self.last - 1;
        self.last = next;
        let at = self.begun.checked_add(self.period.saturating_mul(next));
        Tick {
            // A period of centuries: late enough.
            at: at.unwrap_or(now + Duration::from_secs(365 * 24 * 3600)),
            skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ticks_lie_on_the_grid_after_now_and_each_is_given_out_or_counted_as_skipped_once(
            period in 1u64..5000, waits in proptest::collection::vec(0u64..20_000, 1..100),
        ) {
            let (begun, period) = (Instant::now(), Duration::from_millis(period));
            let mut grid = Grid::new(begun, period);
            let (mut now, mut given, mut skipped) = (begun, 0u32, 0u32);
            for wait in waits {
                now += Duration::from_millis(wait);
                let tick = grid.next(now);
                given += 1;
                skipped += tick.skipped;
                prop_assert!(tick.at > now);
                prop_assert_eq!(tick.at, begun + period * (given + skipped));
                now = now.max(tick.at);
            }
        }
    }
}
