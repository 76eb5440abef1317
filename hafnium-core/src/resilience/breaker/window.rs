//! The calls that a closed breaker looks back on: pure, with the time passed in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Into how many parts a time window is cut: what falls out leaves a tenth at a time.
const PARTS: u32 = 10;

/// How many calls, and of what kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Counts {
    pub(super) fn one(failure: bool, slow: bool) -> Self {
        Self {
            calls: 1,
            failures: failure.into(),
            slow: slow.into(),
        }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn remove(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// How far a window looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Calls(usize),
    Time(Duration),
}

/// Entries in the order of their time, and their sum. An entry is one call, or one part of a time window.
#[derive(Debug)]
pub(super) struct Window {
    span: Span,
    entries: VecDeque<(Instant, Counts)>,
    sum: Counts,
}

impl Window {
    pub(super) fn new(span: Span) -> Self {
        Self {
            span: match span {
                Span::Calls(calls) => Span::Calls(calls.max(1)),
                // Shorter ones could not be cut.
                Span::Time(time) => Span::Time(time.max(Duration::from_millis(1))),
            },
            entries: VecDeque::new(),
            sum: Counts::default(),
        }
    }

    /// The same calls seen through another span.
    pub(super) fn resized(self, span: Span, now: Instant) -> Self {
        let mut other = Self::new(span);
        for (at, counts) in self.entries {
            for call in singly(counts) {
                other.push(call, at);
            }
        }
        other.expire(now);
        other
    }

    pub(super) fn push(&mut self, call: Counts, now: Instant) {
        match self.span {
            Span::Calls(most) => {
                while self.entries.len() >= most {
                    self.drop_oldest();
                }
                self.entries.push_back((now, call));
            }
            Span::Time(time) => {
                self.expire(now);
                let part = time / PARTS;
                match self.entries.back_mut() {
                    Some((begun, counts)) if now.saturating_duration_since(*begun) < part => counts.add(call),
                    _ => self.entries.push_back((now, call)),
                }
            }
        }
        self.sum.add(call);
    }

    /// What is in the window at `now`.
    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.expire(now);
        self.sum
    }

    /// Whether no further call would fit without another falling out.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.span, Span::Calls(most) if self.entries.len() >= most)
    }

    fn expire(&mut self, now: Instant) {
        let Span::Time(time) = self.span else {
            return;
        };
        while let Some((begun, _)) = self.entries.front() {
            if now.saturating_duration_since(*begun) < time {
                return;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, counts)) = self.entries.pop_front() {
            self.sum.remove(counts);
        }
    }
}

/// Counts as single calls; which of a part's calls failed is not known any more, only how many.
fn singly(counts: Counts) -> impl Iterator<Item = Counts> {
    (0..counts.calls).map(move |call| Counts::one(call < counts.failures, call < counts.slow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call() -> impl Strategy<Value = (u64, bool, bool)> {
        (0u64..400, any::<bool>(), any::<bool>())
    }

    proptest! {
        #[test]
        fn a_count_window_holds_exactly_the_last_calls(
            calls in proptest::collection::vec(call(), 0..200), most in 1usize..50,
        ) {
            let mut now = Instant::now();
            let mut window = Window::new(Span::Calls(most));
            let mut all = Vec::new();
            for (wait, failure, slow) in calls {
                now += Duration::from_millis(wait);
                window.push(Counts::one(failure, slow), now);
                all.push((failure, slow));
                let last = &all[all.len().saturating_sub(most)..];
                let counts = window.counts(now);
                prop_assert_eq!(counts.calls as usize, last.len());
                prop_assert_eq!(counts.failures as usize, last.iter().filter(|call| call.0).count());
                prop_assert_eq!(counts.slow as usize, last.iter().filter(|call| call.1).count());
            }
        }

        /// A part leaves as a whole when its first call is too old, so the last nine tenths are always in.
        #[test]
        fn a_time_window_holds_the_last_nine_tenths_and_nothing_older_than_itself(
            calls in proptest::collection::vec(call(), 0..200), millis in 10u64..3_000,
        ) {
            let time = Duration::from_millis(millis);
            let mut now = Instant::now();
            let mut window = Window::new(Span::Time(time));
            let mut all: Vec<(Instant, bool)> = Vec::new();
            for (wait, failure, slow) in calls {
                now += Duration::from_millis(wait);
                window.push(Counts::one(failure, slow), now);
                all.push((now, failure));
                let within = |limit: Duration| {
                    all.iter().filter(|(at, failure)| *failure && now - *at < limit).count() as u32
                };
                let counts = window.counts(now);
                prop_assert!(counts.failures <= within(time));
                prop_assert!(counts.failures >= within(time - time / PARTS));
                prop_assert!(window.entries.len() <= PARTS as usize + 1);
                let sum = window.entries.iter().fold(Counts::default(), |mut sum, entry| { sum.add(entry.1); sum });
                prop_assert_eq!(sum, counts);
            }
        }

        #[test]
        fn another_span_of_enough_room_keeps_every_count(
            calls in proptest::collection::vec(call(), 1..100), to_calls in any::<bool>(),
        ) {
            let mut now = Instant::now();
            let mut window = Window::new(Span::Time(Duration::from_secs(3600)));
            for (wait, failure, slow) in calls {
                now += Duration::from_millis(wait);
                window.push(Counts::one(failure, slow), now);
            }
            let before = window.counts(now);
            let span = if to_calls { Span::Calls(1000) } else { Span::Time(Duration::from_secs(7200)) };
            prop_assert_eq!(window.resized(span, now).counts(now), before);
        }
    }
}
