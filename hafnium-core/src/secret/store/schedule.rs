//! When a source is asked again: a pure state machine with the time passed in.
//!
//! A source is asked at most once a second, whoever wants it. After a success it is asked when it said so itself, else
//! after the interval; never after what it gave has ended. After a failure it is asked ever less often, up to once a
//! minute, while the last value serves on.

use std::time::Duration;

use tokio::time::Instant;

use crate::secret::provider::FetchErrorKind;

/// The least time between two questions.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// The most time between two questions while they fail.
const MOST_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What configuration says of the times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) refresh: Duration,
    pub(super) stale_grace: Duration,
}

/// When to ask, and how fresh what is held is.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    timing: Timing,
    asked: Option<Instant>,
    next: Instant,
    succeeded: Instant,
    expires: Option<Instant>,
    failures: u32,
    failure: Option<FetchErrorKind>,
}

/// How fresh what is held is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The last question was answered.
    Fresh,
    /// The last question failed, and what is held may serve on.
    Grace,
    /// Questions failed for longer than the grace.
    Stale,
    /// The source answered, and what it said can't be used.
    Rejected,
    /// What is held has ended by its own terms.
    Expired,
}

impl Schedule {
    /// For a value that is to be asked for at once.
    pub(super) fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            asked: None,
            next: now,
            succeeded: now,
            expires: None,
            failures: 0,
            failure: None,
        }
    }

    /// When to ask next, if nobody wants it sooner.
    pub(super) fn due(&self) -> Instant {
        self.next.max(self.earliest())
    }

    /// When the source may be asked at the earliest.
    pub(super) fn earliest(&self) -> Instant {
        self.asked.map_or(self.next, |asked| asked + LEAST)
    }

    /// The source is being asked.
    pub(super) fn asks(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// The source answered. `random` is in 0..1.
    pub(super) fn succeeds(
        &mut self,
        now: Instant,
        refresh_after: Option<Duration>,
        expires_after: Option<Duration>,
        random: f64,
    ) {
        let mut wait = refresh_after.unwrap_or(self.timing.refresh);
        if let Some(life) = expires_after {
            // Two thirds leave room for some failures before the end.
            wait = wait.min(life.mul_f64(2.0 / 3.0));
        }
        // Less, never more: what was said is the latest time.
        self.next = now + wait.mul_f64(1.0 - 0.1 * random);
        self.succeeded = now;
        self.expires = expires_after.map(|life| now + life);
        self.failures = 0;
        self.failure = None;
    }

    /// The source gave nothing that can be used. `random` is in 0..1.
    pub(super) fn fails(&mut self, now: Instant, kind: FetchErrorKind, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(kind);
        let full = LEAST * (1 << self.failures.min(6));
        let full = full.min(MOST_AFTER_FAILURE).min(self.timing.refresh.max(LEAST));
        self.next = now + full.mul_f64(0.5 + random / 2.0).max(LEAST);
    }

    /// How fresh what is held is.
    pub(super) fn freshness(&self, now: Instant) -> Freshness {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Freshness::Expired;
        }
        match self.failure {
            None => Freshness::Fresh,
            Some(FetchErrorKind::Unavailable) if now < self.succeeded + self.timing.stale_grace => {
                Freshness::Grace
            }
            Some(FetchErrorKind::Unavailable) => Freshness::Stale,
            Some(_) => Freshness::Rejected,
        }
    }

    /// How long ago the source last answered.
    pub(super) fn since_success(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMING: Timing = Timing {
        refresh: Duration::from_secs(300),
        stale_grace: Duration::from_secs(1800),
    };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_asked_again_within_the_last_tenth_of_the_interval() {
        let now = Instant::now();
        for (random, expected) in [(0.0, 300_000), (0.5, 285_000), (1.0, 270_000)] {
            let mut schedule = Schedule::new(TIMING, now);
            assert_eq!(schedule.due(), now);
            schedule.asks(now);
            schedule.succeeds(now, None, None, random);
            assert_eq!(schedule.due(), now + Duration::from_millis(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_a_source_names_stands_above_the_interval_and_its_end_above_both() {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING, now);
        schedule.asks(now);
        schedule.succeeds(now, Some(seconds(2400)), Some(seconds(3600)), 0.0);
        assert_eq!(schedule.due(), now + seconds(2400));
        schedule.succeeds(now, None, Some(seconds(30)), 0.0);
        assert_eq!(schedule.due(), now + seconds(20));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_ever_less_often() {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            schedule.asks(now);
            schedule.fails(now, FetchErrorKind::Unavailable, 1.0);
            waits.push((schedule.due() - now).as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_asked_for_serves_for_the_grace_and_is_stale_then() {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING, now);
        schedule.succeeds(now, None, None, 0.0);
        schedule.fails(now + seconds(300), FetchErrorKind::Unavailable, 0.0);
        assert_eq!(schedule.freshness(now + seconds(1799)), Freshness::Grace);
        assert_eq!(schedule.freshness(now + seconds(1800)), Freshness::Stale);
        schedule.succeeds(now + seconds(1900), None, None, 0.0);
        assert_eq!(schedule.freshness(now + seconds(1900)), Freshness::Fresh);
    }

    #[tokio::test(start_paused = true)]
    async fn a_definite_answer_shows_at_once_and_an_end_always() {
        let now = Instant::now();
        for kind in [
            FetchErrorKind::Denied,
            FetchErrorKind::Missing,
            FetchErrorKind::Invalid,
        ] {
            let mut schedule = Schedule::new(TIMING, now);
            schedule.succeeds(now, None, Some(seconds(60)), 0.0);
            schedule.fails(now, kind, 0.0);
            assert_eq!(schedule.freshness(now), Freshness::Rejected);
            assert_eq!(schedule.freshness(now + seconds(60)), Freshness::Expired);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Asked,
        Success(Option<u64>, Option<u64>),
        Failure(FetchErrorKind),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..4_000_000).prop_map(Step::Wait),
            Just(Step::Asked),
            (
                proptest::option::of(1_u64..7200),
                proptest::option::of(1_u64..7200)
            )
                .prop_map(|(refresh, life)| Step::Success(refresh, life)),
            prop_oneof![
                Just(FetchErrorKind::Denied),
                Just(FetchErrorKind::Missing),
                Just(FetchErrorKind::Unavailable),
                Just(FetchErrorKind::Invalid)
            ]
            .prop_map(Step::Failure),
        ]
    }

    proptest! {
        /// Whatever happens: at most one question a second, none later than what was said, and none after the end of
        /// what is held unless questions failed.
        #[test]
        fn questions_are_never_too_near_nor_too_far(
            steps in proptest::collection::vec((step(), 0.0_f64..1.0), 1..60)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut now = Instant::now();
                let mut schedule = Schedule::new(TIMING, now);
                let mut last: Option<Instant> = None;
                for (step, random) in steps {
                    match step {
                        Step::Wait(millis) => now += Duration::from_millis(millis),
                        Step::Asked => now = now.max(schedule.earliest()),
                        Step::Success(..) | Step::Failure(_) => {
                            now = now.max(schedule.due());
                            prop_assert!(last.is_none_or(|last| now - last >= LEAST));
                            last = Some(now);
                            schedule.asks(now);
                            if let Step::Failure(kind) = step {
                                schedule.fails(now, kind, random);
                                let wait = schedule.due() - now;
                                prop_assert!(wait >= LEAST && wait <= MOST_AFTER_FAILURE);
                                prop_assert_ne!(schedule.freshness(now), Freshness::Fresh);
                            } else if let Step::Success(refresh, life) = step {
                                let (refresh, life) = (refresh.map(seconds), life.map(seconds));
                                schedule.succeeds(now, refresh, life, random);
                                let wait = schedule.due() - now;
                                let most = refresh.unwrap_or(TIMING.refresh).max(LEAST);
                                prop_assert!(wait >= LEAST && wait <= most);
                                prop_assert!(life.is_none_or(|life| wait <= life.max(LEAST)));
                                prop_assert_eq!(schedule.freshness(now), Freshness::Fresh);
                            }
                        }
                    }
                }
                Ok(())
            })?;
        }
    }
}
