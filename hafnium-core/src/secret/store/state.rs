//! What is said of a secret: pure, from how fresh it is, how old it is and what its consumers found.

use std::time::Duration;

use super::schedule::Freshness;
use crate::health::Status;

/// How a secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretState {
    /// In use and up to date.
    Current,
    /// Its source can't be reached at the moment; the last value serves.
    Retrying,
    /// Older than the age that it may have.
    Old,
    /// Its source could not be reached for longer than the grace; the last value serves.
    Stale,
    /// What its source gives can't be used; the last good value serves.
    Rejected,
    /// The value has ended by the terms of its source, which gives no other.
    Expired,
    /// The value is refused where it is used.
    Refused,
    /// The value is refused where it is used, and its source gives no other: the service can't work.
    Lost,
}

impl SecretState {
    /// The stable name: `current`, `retrying`, `old`, `stale`, `rejected`, `expired`, `refused`, `lost`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Retrying => "retrying",
            Self::Old => "old",
            Self::Stale => "stale",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    /// How bad it is, for a metric and an alert: 0 all is well, 1 someone should look, 2 the service can't work.
    pub fn severity(self) -> u8 {
        match self {
            Self::Current | Self::Retrying => 0,
            Self::Lost => 2,
            _ => 1,
        }
    }
}

/// What is known of one secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) freshness: Freshness,
    pub(super) age: Duration,
    pub(super) maximum_age: Duration,
    /// The current value was refused where it is used.
    pub(super) refused: bool,
    /// The current value does not go with what belongs to it.
    pub(super) mismatched: bool,
}

impl Standing {
    /// The worst that is to be said.
    pub(super) fn state(&self) -> SecretState {
        let without_another = matches!(
            self.freshness,
            Freshness::Stale | Freshness::Expired | Freshness::Rejected
        );
        match self.freshness {
            _ if self.refused && without_another => SecretState::Lost,
            _ if self.refused => SecretState::Refused,
            Freshness::Expired => SecretState::Expired,
            Freshness::Rejected => SecretState::Rejected,
            _ if self.mismatched => SecretState::Rejected,
            Freshness::Stale => SecretState::Stale,
            _ if self.age > self.maximum_age => SecretState::Old,
            Freshness::Grace => SecretState::Retrying,
            Freshness::Fresh => SecretState::Current,
        }
    }
}

/// The health of all secrets together: the worst, with the keys that are to be looked at.
pub(super) fn health<'a>(states: impl Iterator<Item = (&'a str, SecretState)>) -> Status {
    let mut worst = 0;
    let mut named = Vec::new();
    for (key, state) in states.filter(|(_, state)| state.severity() > 0) {
        worst = worst.max(state.severity());
        named.push(format!("{key} is {}", state.as_str()));
    }
    match worst {
        0 => Status::Up,
        1 => Status::Degraded(named.join(", ")),
        _ => Status::Down(named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Standing = Standing {
        freshness: Freshness::Fresh,
        age: Duration::from_secs(10),
        maximum_age: Duration::from_secs(10),
        refused: false,
        mismatched: false,
    };

    #[test]
    fn a_refused_value_counts_as_lost_only_where_there_is_no_other() {
        for (freshness, refused, state) in [
            (Freshness::Fresh, false, SecretState::Current),
            (Freshness::Fresh, true, SecretState::Refused),
            (Freshness::Grace, false, SecretState::Retrying),
            (Freshness::Grace, true, SecretState::Refused),
            (Freshness::Stale, false, SecretState::Stale),
            (Freshness::Stale, true, SecretState::Lost),
            (Freshness::Rejected, false, SecretState::Rejected),
            (Freshness::Rejected, true, SecretState::Lost),
            (Freshness::Expired, false, SecretState::Expired),
            (Freshness::Expired, true, SecretState::Lost),
        ] {
            let standing = Standing {
                freshness,
                refused,
                ..FINE
            };
            assert_eq!(standing.state(), state, "{freshness:?} {refused}");
        }
    }

    #[test]
    fn an_age_above_the_maximum_is_degraded_and_names_the_key() {
        let old = Standing {
            age: Duration::from_secs(11),
            ..FINE
        };
        assert_eq!(old.state(), SecretState::Old);
        let states = [("a.b", FINE.state()), ("c.d", old.state())];
        assert_eq!(
            health(states.into_iter()),
            Status::Degraded("c.d is old".to_owned())
        );
    }

    #[test]
    fn only_a_lost_secret_is_down() {
        let states = [("a", SecretState::Stale), ("b", SecretState::Lost)];
        assert_eq!(
            health(states.into_iter()),
            Status::Down("a is stale, b is lost".to_owned())
        );
        assert_eq!(health([("a", SecretState::Retrying)].into_iter()), Status::Up);
    }
}
