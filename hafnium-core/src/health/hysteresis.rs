//! When a check counts as down and when as up again: a pure state machine with the time passed in.
//!
//! One failure is noise and one success is luck. What was up needs `fall` failures in a row to be down, what was down
//! needs `rise` successes in a row to be up. The first result of all decides at once, because there is no earlier
//! state to protect.

use tokio::time::Instant;

use super::check::Status;

/// What is believed of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It has not run yet.
    Unknown,
    /// All is well.
    Up,
    /// Works, but someone should look.
    Degraded,
    /// Does not work.
    Down,
}

impl Health {
    /// The stable name: `unknown`, `up`, `degraded`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// Whether the checked thing works.
    pub fn is_working(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }
}

/// The state machine of one check.
#[derive(Debug, Clone)]
pub(crate) struct Hysteresis {
    fall: u32,
    rise: u32,
    health: Health,
    since: Instant,
    failures: u32,
    successes: u32,
}

impl Hysteresis {
    /// A check that has not run yet. Thresholds of zero count as one.
    pub(crate) fn new(fall: u32, rise: u32, now: Instant) -> Self {
        Self {
            fall: fall.max(1),
            rise: rise.max(1),
            health: Health::Unknown,
            since: now,
            failures: 0,
            successes: 0,
        }
    }

    /// Takes one result, seen at `now`; returns the new health if it changed.
    pub(crate) fn observe(&mut self, status: &Status, now: Instant) -> Option<Health> {
        let works = match status {
            Status::Up => Some(Health::Up),
            Status::Degraded(_) => Some(Health::Degraded),
            Status::Down(_) => None,
        };
        match works {
            Some(_) => (self.successes, self.failures) = (self.successes.saturating_add(1), 0),
            None => (self.successes, self.failures) = (0, self.failures.saturating_add(1)),
        }
        let next = match (self.health, works) {
            (Health::Down, Some(_)) if self.successes < self.rise => Health::Down,
            (_, Some(working)) => working,
            (Health::Up | Health::Degraded, None) if self.failures < self.fall => self.health,
            (_, None) => Health::Down,
        };
        if next == self.health {
            return None;
        }
        self.health = next;
        self.since = now;
        Some(next)
    }

    /// What is believed now.
    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// Since when that is believed.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How many runs in a row failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn down() -> Status {
        Status::Down("refused".into())
    }

    #[test]
    fn three_failures_are_down_and_two_successes_are_up_again() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut check = Hysteresis::new(3, 2, begun);
        assert_eq!(check.observe(&Status::Up, at(1)), Some(Health::Up));
        assert_eq!(check.observe(&down(), at(2)), None);
        assert_eq!(check.observe(&down(), at(3)), None);
        assert_eq!(check.observe(&down(), at(4)), Some(Health::Down));
        assert_eq!(check.since(), at(4));
        assert_eq!(check.observe(&Status::Up, at(5)), None);
        assert_eq!(check.observe(&down(), at(6)), None);
        assert_eq!(check.observe(&Status::Up, at(7)), None);
        assert_eq!(check.observe(&Status::Up, at(8)), Some(Health::Up));
    }

    #[test]
    fn the_first_result_decides_at_once() {
        let now = Instant::now();
        assert_eq!(
            Hysteresis::new(3, 2, now).observe(&down(), now),
            Some(Health::Down)
        );
        assert_eq!(
            Hysteresis::new(3, 2, now).observe(&Status::Degraded("stale".into()), now),
            Some(Health::Degraded)
        );
    }

    proptest! {
        #[test]
        fn fewer_failures_in_a_row_than_the_threshold_never_make_it_down(
            runs in proptest::collection::vec(any::<bool>(), 1..200), fall in 1u32..5, rise in 1u32..5,
        ) {
            let now = Instant::now();
            let mut check = Hysteresis::new(fall, rise, now);
            check.observe(&Status::Up, now);
            let (mut failed, mut succeeded) = (0u32, 1u32);
            let mut model_up = true;
            for up in runs {
                check.observe(&if up { Status::Up } else { down() }, now);
                (failed, succeeded) = if up { (0, succeeded + 1) } else { (failed + 1, 0) };
                if model_up && failed >= fall { model_up = false; }
                if !model_up && succeeded >= rise { model_up = true; }
                prop_assert_eq!(check.health().is_working(), model_up);
            }
        }
    }
}
