//! Which pair is in use, which was in use before and which is not good. Pure: time is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::topology::NodeId;
use super::pair::Pair;
use super::{Refusal, Stamp};

/// Within this time after a change the connections of the pair before are replaced, each at an instant of its own:
/// closing all at once would be a storm of logins.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// For how long a node is left alone that refuses what the primary accepts: the first time, and at most. A standby
/// learns of a changed password as it replays the change.
const HOLD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

pub(super) struct State {
    pub(super) adopted: Arc<Pair>,
    /// What was in use before: the server may want it while a rotation is under way.
    pub(super) former: Option<Arc<Pair>>,
    pub(super) generation: u64,
    since: Option<Instant>,
    /// What came and did not work, as it is shown.
    pub(super) rejected: Option<Arc<str>>,
    holds: BTreeMap<NodeId, Hold>,
}

struct Hold {
    until: Instant,
    next: Duration,
    refusal: Refusal,
}

impl State {
    pub(super) fn new(pair: Arc<Pair>) -> Self {
        Self {
            adopted: pair,
            former: None,
            generation: 0,
            since: None,
            rejected: None,
            holds: BTreeMap::new(),
        }
    }

    /// `pair` was accepted by a server and is what logins use from now on.
    pub(super) fn adopt(&mut self, pair: Arc<Pair>, now: Instant) {
        self.former = Some(std::mem::replace(&mut self.adopted, pair));
        self.generation += 1;
        self.since = Some(now);
        self.rejected = None;
        self.holds.clear();
    }

    /// Whether a connection with that stamp may be given out again.
    pub(super) fn keeps(&self, stamp: &Stamp, now: Instant) -> bool {
        match self.generation.saturating_sub(stamp.generation) {
            0 => true,
            1 => self
                .since
                .is_some_and(|since| now.saturating_duration_since(since) < DRAIN.mul_f32(stamp.spread)),
            _ => false,
        }
    }

    /// Whether connections of the pair before are still being replaced.
    pub(super) fn drains(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < DRAIN)
    }

    /// The node refuses what the primary accepts.
    pub(super) fn hold(&mut self, refusal: Refusal, now: Instant) {
        let wait = self.holds.get(&refusal.node).map_or(HOLD.0, |hold| hold.next);
        let hold = Hold {
            until: now + wait,
            next: (wait * 2).min(HOLD.1),
            refusal,
        };
        self.holds.insert(hold.refusal.node, hold);
    }

    /// Why no login at `node` should be tried now.
    pub(super) fn held(&self, node: NodeId, now: Instant) -> Option<Refusal> {
        let hold = self.holds.get(&node).filter(|hold| now < hold.until)?;
        Some(hold.refusal.clone())
    }

    pub(super) fn release(&mut self, node: NodeId) {
        self.holds.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::pair;
    use super::*;

    fn stamp(generation: u64, spread: f32) -> Stamp {
        Stamp { generation, spread }
    }

    fn refusal() -> Refusal {
        Refusal {
            node: NodeId(1),
            error: Arc::new(sqlx::Error::PoolClosed),
        }
    }

    #[test]
    fn connections_of_the_pair_before_are_replaced_one_by_one_within_the_drain() {
        let begun = Instant::now();
        let mut state = State::new(pair("postgres://app:one@a/db"));
        assert!(state.keeps(&stamp(0, 0.0), begun) && !state.drains(begun));
        state.adopt(pair("postgres://app:two@a/db"), begun);
        assert!(state.keeps(&stamp(0, 0.5), begun + DRAIN / 4));
        assert!(!state.keeps(&stamp(0, 0.5), begun + DRAIN / 2));
        assert!(!state.keeps(&stamp(0, 1.0), begun + DRAIN) && !state.drains(begun + DRAIN));
        assert!(state.keeps(&stamp(1, 0.0), begun + DRAIN));
        state.adopt(pair("postgres://app:three@a/db"), begun + DRAIN / 4);
        assert!(!state.keeps(&stamp(0, 1.0), begun + DRAIN / 4));
    }

    #[test]
    fn a_node_that_refuses_alone_is_left_alone_for_longer_each_time() {
        let begun = Instant::now();
        let mut state = State::new(pair("postgres://app:one@a/db"));
        state.hold(refusal(), begun);
        assert!(state.held(NodeId(1), begun).is_some() && state.held(NodeId(0), begun).is_none());
        assert!(state.held(NodeId(1), begun + HOLD.0).is_none());
        state.hold(refusal(), begun);
        assert!(state.held(NodeId(1), begun + HOLD.0).is_some());
        state.release(NodeId(1));
        assert!(state.held(NodeId(1), begun).is_none());
    }
}
