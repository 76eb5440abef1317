//! Who is served next of those who wait. Pure: time is passed in.
//!
//! The oldest, for as long as it has waited less than half its time; from then on the newest. When more is asked for than
//! can be served, the oldest are those about to run out of time: served first, their statements end in time-outs that cost
//! their connections, and then nobody is served in time, also long after the load is what it was. Those who are passed
//! over are not given up: they are served when no newer one waits.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Those who wait for one thing, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Line<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
    next: u64,
}

/// The time of one who waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) begun: Instant,
    pub(crate) due: Instant,
}

#[derive(Debug)]
struct Waiting<T> {
    patience: Patience,
    whom: T,
}

impl Patience {
    /// Whether more of it is over than left.
    fn is_worn(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) > self.due.saturating_duration_since(now)
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Line<T> {
    /// Puts `whom` at the end, at the place that is returned.
    pub(crate) fn join(&mut self, patience: Patience, whom: T) -> u64 {
        let place = self.next;
        self.next += 1;
        self.waiting.insert(place, Waiting { patience, whom });
        place
    }

    /// Whoever has this place, if it was not served yet, waits no more.
    pub(crate) fn leave(&mut self, place: u64) {
        self.waiting.remove(&place);
    }

    /// Takes out who is served next.
    pub(crate) fn next(&mut self, now: Instant) -> Option<T> {
        let oldest = self.waiting.first_entry()?;
        let served = if oldest.get().patience.is_worn(now) {
            self.waiting.pop_last().map(|(_, newest)| newest)
        } else {
            Some(oldest.remove())
        };
        served.map(|waiting| waiting.whom)
    }

    /// Takes out all, the oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting)
            .into_values()
            .map(|waiting| waiting.whom)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_oldest_comes_first_until_half_its_time_is_over_and_then_the_newest() {
        let start = Instant::now();
        let mut line = Line::default();
        for (name, at) in [("a", 0), ("b", 10), ("c", 20), ("d", 30)] {
            let begun = start + ms(at);
            let due = begun + ms(1000);
            line.join(Patience { begun, due }, name);
        }
        assert_eq!(line.next(start + ms(500)), Some("a"), "no more than half");
        assert_eq!(line.next(start + ms(505)), Some("b"));
        assert_eq!(
            line.next(start + ms(521)),
            Some("d"),
            "c has waited for longer than it can"
        );
        assert_eq!(line.next(start + ms(999)), Some("c"), "and is not forgotten");
        assert_eq!(line.next(start + ms(999)), None);
    }

    #[test]
    fn who_left_is_not_served_and_who_waits_for_long_gives_way_only_to_those_who_came_later() {
        let start = Instant::now();
        let mut line = Line::default();
        let short = Patience {
            begun: start,
            due: start + ms(100),
        };
        let long = Patience {
            begun: start,
            due: start + ms(10_000),
        };
        let first = line.join(short, "first");
        line.join(long, "second");
        line.join(long, "third");
        assert_eq!(line.len(), 3);
        assert_eq!(line.next(start + ms(90)), Some("third"));
        line.leave(first);
        assert_eq!(line.next(start + ms(90)), Some("second"), "it has time");
        assert!(line.is_empty());
    }
}
