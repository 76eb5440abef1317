//! How eagerly nodes are asked.

use std::time::Duration;

use super::FailureKind;

/// How eagerly to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tempo {
    /// All is known.
    Calm,
    /// Something is suspect: find the primary as fast as can be.
    Panic,
    /// Panic did not help for long.
    Worn,
}

impl Tempo {
    /// How long from one question to the next, to a node whose newest failure is `failure`, if it has one.
    pub(crate) fn pause(self, failure: Option<FailureKind>) -> Duration {
        match (self, failure) {
            // More logins with the wrong password find nothing out and may lock the account.
            (Self::Calm | Self::Worn, Some(FailureKind::Refused)) => Duration::from_secs(1),
            (Self::Panic, Some(FailureKind::Refused)) => Duration::from_millis(250),
            (Self::Panic, Some(FailureKind::Busy)) => Duration::from_millis(20),
            // It answers, and may be promoted the next moment: the first write waits for the question after that.
            (Self::Panic, None) => Duration::from_millis(2),
            (Self::Panic, _) => Duration::from_millis(5),
            (Self::Worn, _) => Duration::from_millis(250),
            (Self::Calm, _) => Duration::from_millis(450 + fastrand::u64(0..=100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_asks_a_hundred_times_as_often_as_calm_and_no_one_hammers_with_a_wrong_password() {
        assert!(Tempo::Calm.pause(None) >= Duration::from_millis(450));
        assert!(Tempo::Calm.pause(None) <= Duration::from_millis(550));
        for lost in [FailureKind::Unreachable, FailureKind::Silent] {
            assert_eq!(Tempo::Panic.pause(Some(lost)), Duration::from_millis(5));
        }
        assert_eq!(Tempo::Panic.pause(None), Duration::from_millis(2));
        let refused = Some(FailureKind::Refused);
        for tempo in [Tempo::Calm, Tempo::Panic, Tempo::Worn] {
            assert!(tempo.pause(refused) >= Duration::from_millis(250));
        }
    }
}
