//! What the proxy does at the moment.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Path {
    #[default]
    Open,
    SwallowReplies,
    BlackHole,
}

/// The rules at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    pub(crate) path: Path,
    pub(crate) latency: Duration,
    pub(crate) bandwidth: Option<NonZeroU32>,
    /// The most bytes of a reply that are passed on at once.
    pub(crate) pieces: Option<NonZeroUsize>,
    /// Bytes that may still pass in a direction.
    pub(crate) cut: Option<(Direction, u64)>,
    pub(crate) needle: Option<Arc<[u8]>>,
    /// Rises with each heal: a connection that was swallowed from in an earlier one cannot go on.
    pub(crate) epoch: u64,
    /// Rises with each reset of everything that is open.
    pub(crate) generation: u64,
}

impl Now {
    pub(crate) fn swallows(&self, direction: Direction) -> bool {
        match self.path {
            Path::Open => false,
            Path::SwallowReplies => direction == Direction::ToClient,
            Path::BlackHole => true,
        }
    }
}

/// The rules, and news of their change.
#[derive(Debug)]
pub(crate) struct Rules(watch::Sender<Now>);

impl Default for Rules {
    fn default() -> Rules {
        Rules(watch::Sender::new(Now::default()))
    }
}

impl Rules {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Now)) {
        self.0.send_modify(change);
    }

    pub(crate) fn now(&self) -> Now {
        self.0.borrow().clone()
    }

    pub(crate) fn news(&self) -> watch::Receiver<Now> {
        self.0.subscribe()
    }

    /// How many of `bytes` may pass before the cut; fewer means: cut now. Uses the rule up.
    pub(crate) fn spend(&self, direction: Direction, bytes: usize) -> usize {
        let mut allowed = bytes;
        self.0.send_if_modified(|now| {
            let Some((_, left)) = now.cut.as_mut().filter(|(cut, _)| *cut == direction) else {
                return false;
            };
            match left.checked_sub(bytes as u64) {
                Some(rest) => *left = rest,
                None => {
                    // Less than `bytes`, so it fits.
                    allowed = usize::try_from(*left).unwrap_or(bytes);
                    now.cut = None;
                }
            }
            false
        });
        allowed
    }

    /// Whether this request is the one whose reply is to be swallowed. Uses the rule up.
    pub(crate) fn takes_needle(&self, request: &[u8]) -> bool {
        let mut found = false;
        self.0.send_if_modified(|now| {
            found = now
                .needle
                .as_ref()
                .is_some_and(|needle| contains(request, needle));
            if found {
                now.needle = None;
            }
            false
        });
        found
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_one_direction_and_is_used_up() {
        let rules = Rules::default();
        rules.change(|now| now.cut = Some((Direction::ToServer, 10)));
        assert_eq!(rules.spend(Direction::ToClient, 100), 100);
        assert_eq!(rules.spend(Direction::ToServer, 7), 7);
        assert_eq!(rules.spend(Direction::ToServer, 7), 3);
        assert_eq!(rules.spend(Direction::ToServer, 7), 7);
    }

    #[test]
    fn a_needle_is_found_once() {
        let rules = Rules::default();
        rules.change(|now| now.needle = Some(Arc::from(&b"COMMIT"[..])));
        assert!(!rules.takes_needle(b"SELECT 1"));
        assert!(rules.takes_needle(b"Q SELECT 1; COMMIT "));
        assert!(!rules.takes_needle(b"COMMIT"));
    }
}
