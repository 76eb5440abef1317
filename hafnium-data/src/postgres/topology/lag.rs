//! How far a replica is behind, measured by our own clock against positions the primary had.
//!
//! Neither server's clock is asked: a replay delay computed on the standby grows on an idle primary and reads zero on
//! a standby that lost its primary.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Positions are kept no closer together than this, so that panic probing does not flush the history.
const STEP: Duration = Duration::from_millis(100);

/// Where the primary's log ended, and when.
#[derive(Debug)]
pub(crate) struct Lag {
    limit: Duration,
    timeline: u32,
    /// The first position that was seen of the timeline.
    began: i64,
    history: VecDeque<(Instant, i64)>,
}

impl Lag {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            timeline: 0,
            began: 0,
            history: VecDeque::new(),
        }
    }

    /// The primary's log ended at `position` when it was asked.
    pub(crate) fn note(&mut self, timeline: u32, position: i64, asked: Instant) {
        if self.timeline != timeline {
            (self.timeline, self.began) = (timeline, position);
            self.history.clear();
        }
        if self.history.back().is_some_and(|(last, _)| asked < *last + STEP) {
            return;
        }
        self.history.push_back((asked, position));
        let horizon = self.limit * 2;
        while self
            .history
            .get(1)
            .is_some_and(|(at, _)| asked.saturating_duration_since(*at) > horizon)
        {
            self.history.pop_front();
        }
    }

    /// The timeline of the last known primary, and the first position that was seen of it.
    pub(crate) fn timeline(&self) -> (u32, i64) {
        (self.timeline, self.began)
    }

    /// For how long the primary has had something that a replica at `replayed` lacks; `None` when the history does
    /// not reach back far enough to tell.
    pub(crate) fn of(&self, replayed: i64, now: Instant) -> Option<Duration> {
        let (_, oldest) = self.history.front()?;
        if replayed < *oldest {
            return None;
        }
        let lacking = self.history.iter().find(|(_, position)| *position > replayed);
        Some(lacking.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at)))
    }

    pub(crate) fn is_near(&self, replayed: i64, now: Instant) -> bool {
        self.of(replayed, now).is_some_and(|lag| lag <= self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_lags_by_the_time_since_the_primary_first_had_what_it_lacks() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lag = Lag::new(Duration::from_secs(10));
        assert_eq!(lag.of(100, start), None);
        for second in 0..20 {
            lag.note(1, 100 + 10 * second as i64, at(second));
        }
        assert_eq!(lag.of(290, at(19)), Some(Duration::ZERO));
        assert_eq!(lag.of(270, at(19)), Some(Duration::from_secs(1)));
        assert!(!lag.is_near(150, at(19)));
        // From before the history began: nothing is promised.
        assert_eq!(lag.of(50, at(19)), None);
    }

    #[test]
    fn an_idle_primary_makes_no_lag_and_a_new_timeline_starts_afresh() {
        let start = Instant::now();
        let mut lag = Lag::new(Duration::from_secs(10));
        lag.note(1, 100, start);
        lag.note(1, 100, start + Duration::from_secs(60));
        assert_eq!(lag.of(100, start + Duration::from_secs(90)), Some(Duration::ZERO));
        lag.note(2, 50, start + Duration::from_secs(91));
        assert_eq!(lag.of(40, start + Duration::from_secs(92)), None);
    }
}
