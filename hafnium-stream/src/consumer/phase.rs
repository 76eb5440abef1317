//! Whether a consumer takes records or is on its way out.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes records.
    Running,
    /// Finishes what began; at the instant, if there is one, what is left is handed back.
    Draining(Option<Instant>),
}

impl Phase {
    /// Moves to a drain, or brings the end of one nearer; it never moves away.
    pub(crate) fn drain(&mut self, until: Option<Instant>) {
        *self = Self::Draining(match (&*self, until) {
            (Self::Draining(Some(present)), Some(until)) => Some(until.min(*present)),
            (Self::Draining(present), until) => until.or(*present),
            (Self::Running, until) => until,
        });
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self, Self::Draining(_))
    }

    /// Whether the time of the drain is over.
    pub(crate) fn is_past(&self, now: Instant) -> bool {
        matches!(self, Self::Draining(Some(until)) if *until <= now)
    }
}

/// When to stop finishing, so that enough of the time until `deadline` is left to commit and to leave the group.
pub(crate) fn finish_by(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left - (left / 4).min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_only_comes_nearer() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut phase = Phase::Running;
        assert!(!phase.is_past(later));
        phase.drain(None);
        assert!(phase.is_draining() && !phase.is_past(later));
        phase.drain(Some(later));
        phase.drain(None);
        assert_eq!(phase, Phase::Draining(Some(later)));
        phase.drain(Some(now));
        phase.drain(Some(later));
        assert!(phase.is_past(now));
    }

    #[test]
    fn time_is_left_to_commit_and_to_leave() {
        let now = Instant::now();
        let by = |seconds| finish_by(now, now + Duration::from_secs(seconds)) - now;
        assert_eq!(by(15), Duration::from_secs(14));
        assert_eq!(by(2), Duration::from_millis(1500));
        assert_eq!(by(0), Duration::ZERO);
    }
}
