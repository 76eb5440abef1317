//! How long an attempt may take by itself: pure, over the latest durations.

use std::time::Duration;

use super::settings::{HedgeMode, HedgeSettings};

/// So many durations are looked back on.
const KEPT: usize = 100;
/// Fewer say nothing about the slowest twentieth.
const ENOUGH: usize = 20;
/// The 95th percentile is found again after so many durations: sorting each time would cost more than it tells.
const EACH: usize = 10;

/// The durations of the latest answers.
#[derive(Debug, Default)]
pub(super) struct Latest {
    durations: Vec<Duration>,
    next: usize,
    since: usize,
    p95: Option<Duration>,
}

impl Latest {
    pub(super) fn record(&mut self, took: Duration) {
        match self.durations.get_mut(self.next) {
            Some(oldest) => *oldest = took,
            None => self.durations.push(took),
        }
        self.next = (self.next + 1) % KEPT;
        self.since += 1;
        if self.durations.len() >= ENOUGH && (self.p95.is_none() || self.since >= EACH) {
            self.since = 0;
            let mut sorted = self.durations.clone();
            let rank = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
            self.p95 = Some(*sorted.select_nth_unstable(rank).1);
        }
    }

    /// After what time the second attempt starts; none if it does not.
    pub(super) fn delay(&self, settings: &HedgeSettings) -> Option<Duration> {
        match settings.mode {
            HedgeMode::Off => None,
            HedgeMode::Fixed => Some(settings.after.get()),
            HedgeMode::P95 => self.p95.map(|p95| p95.max(settings.after.get())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p95(after: u64) -> HedgeSettings {
        HedgeSettings {
            mode: HedgeMode::P95,
            after: Duration::from_millis(after).into(),
        }
    }

    #[test]
    fn the_delay_follows_the_slowest_twentieth_and_never_falls_below_its_least() {
        let mut latest = Latest::default();
        for millis in 0..19 {
            latest.record(Duration::from_millis(millis));
            assert_eq!(latest.delay(&p95(1)), None, "too few");
        }
        for millis in 1..=100 {
            latest.record(Duration::from_millis(millis));
        }
        let delay = latest.delay(&p95(1)).unwrap();
        assert!((85..=95).contains(&delay.as_millis()), "{delay:?}");
        assert_eq!(latest.delay(&p95(500)), Some(Duration::from_millis(500)));
        for _ in 0..KEPT + EACH {
            latest.record(Duration::from_millis(2));
        }
        assert_eq!(
            latest.delay(&p95(1)),
            Some(Duration::from_millis(2)),
            "the old ones are forgotten"
        );
    }

    #[test]
    fn off_is_never_and_fixed_needs_no_history() {
        let latest = Latest::default();
        let mut settings = HedgeSettings::default();
        assert_eq!(latest.delay(&settings), None);
        settings.mode = HedgeMode::Fixed;
        assert_eq!(latest.delay(&settings), Some(Duration::from_millis(100)));
    }
}
