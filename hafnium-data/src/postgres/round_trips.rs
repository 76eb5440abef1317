//! How long the least that can be asked of a node takes at present, as its probe sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an operation needs at least, however near the node is.
const LEAST: Duration = Duration::from_millis(1);

/// The newest round trips of one probe.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    /// The last two in microseconds: one alone may have been a login, or held up by chance.
    newest: AtomicU64,
}

impl RoundTrips {
    /// The probe had its answer after `took`. Called by the one prober of the node.
    pub(crate) fn note(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let before = self.newest.load(Ordering::Relaxed);
        self.newest
            .store((before << 32) | u64::from(took), Ordering::Relaxed);
    }

    /// What must be left of the time that an operation was `given` for it to be begun: two round trips, which is what a
    /// statement takes that is new to its connection, and no more than a quarter of it all. With less it would most
    /// likely end as a time-out of unknown outcome and cost the connection.
    pub(crate) fn needed(&self, given: Duration) -> Duration {
        let newest = self.newest.load(Ordering::Relaxed);
        let shorter = (newest >> 32).min(newest & u64::from(u32::MAX));
        (Duration::from_micros(shorter) * 2).max(LEAST).min(given / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_of_the_shorter_of_the_last_two_round_trips_are_needed_and_never_more_than_a_quarter() {
        let trips = RoundTrips::default();
        assert_eq!(trips.needed(ms(5000)), LEAST);
        trips.note(ms(40));
        assert_eq!(trips.needed(ms(5000)), LEAST, "one alone says nothing");
        trips.note(ms(30));
        assert_eq!(trips.needed(ms(5000)), ms(60));
        trips.note(ms(700));
        assert_eq!(trips.needed(ms(5000)), ms(60));
        trips.note(Duration::MAX);
        assert_eq!(trips.needed(ms(5000)), ms(1250));
        assert_eq!(trips.needed(Duration::ZERO), Duration::ZERO);
    }
}
