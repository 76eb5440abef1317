//! Which pair is in use, which was in use before and which is not good. Pure: time is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::topology::NodeId;
use super::Refusal;
use super::pair::Pair;

/// For how long connections of the pair before may serve at most, when no login with the new one succeeds.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// For how long a node is left alone that refuses what the primary accepts: the first time, and at most. A standby
/// learns of a changed password as it replays the change.
const HOLD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

pub(super) struct State {
    pub(super) adopted: Arc<Pair>,
    /// What was in use before: the server may want it while a rotation is under way.
    pub(super) former: Option<Arc<Pair>>,
    pub(super) generation: u64,
    since: Option<Instant>,
    /// One for each node, held by each of its connections of the present pair.
    held_by: BTreeMap<NodeId, Arc<()>>,
    /// The same of the pair before, and how many of these connections have been replaced and may close.
    before: BTreeMap<NodeId, (Arc<()>, usize)>,
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
            held_by: BTreeMap::new(),
            before: BTreeMap::new(),
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
        let before = std::mem::take(&mut self.held_by).into_iter();
        self.before = before.map(|(node, share)| (node, (share, 0))).collect();
    }

    /// What a connection to `node` with the present pair holds for as long as it lives.
    pub(super) fn share(&mut self, node: NodeId) -> Arc<()> {
        self.held_by.entry(node).or_default().clone()
    }

    /// Connections to `node` of the pair before that have not been replaced.
    pub(super) fn to_replace(&self, node: NodeId) -> usize {
        let before = self.before.get(&node);
        before.map_or(0, |(share, replaced)| {
            (Arc::strong_count(share) - 1).saturating_sub(*replaced)
        })
    }

    /// Whether no connection to `node` of the pair before is open any more.
    pub(super) fn is_replaced(&self, node: NodeId) -> bool {
        let before = self.before.get(&node);
        before.is_none_or(|(share, _)| Arc::strong_count(share) == 1)
    }

    /// There is a new connection for one to `node` of the pair before, which may close.
    pub(super) fn replaced(&mut self, node: NodeId) {
        if let Some((_, replaced)) = self.before.get_mut(&node) {
            *replaced += 1;
        }
    }

    /// Whether a connection to `node` of that generation may be given out again. Each that was replaced is closed by
    /// the first that asks.
    pub(super) fn keeps(&mut self, node: NodeId, generation: u64, now: Instant) -> bool {
        match self.generation.saturating_sub(generation) {
            0 => true,
            1 if self.drains(now) => match self.before.get_mut(&node) {
                Some((_, replaced)) if *replaced > 0 => {
                    *replaced -= 1;
                    false
                }
                _ => true,
            },
            _ => false,
        }
    }

    /// Whether connections of the pair before may still serve.
    pub(super) fn drains(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) < LONGEST)
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

    fn refusal() -> Refusal {
        Refusal {
            node: NodeId(1),
            error: Arc::new(sqlx::Error::PoolClosed),
        }
    }

    #[test]
    fn a_connection_of_the_pair_before_closes_once_there_is_one_in_its_place() {
        let (begun, node) = (Instant::now(), NodeId(0));
        let mut state = State::new(pair("postgres://app:one@a/db"));
        let shares = [state.share(node), state.share(node)];
        assert!(state.keeps(node, 0, begun) && state.to_replace(node) == 0);
        state.adopt(pair("postgres://app:two@a/db"), begun);
        let _new = state.share(node);
        assert_eq!(state.to_replace(node), 2);
        assert!(state.keeps(node, 0, begun), "nothing is there in its place");
        state.replaced(node);
        assert_eq!(state.to_replace(node), 1);
        assert!(state.keeps(NodeId(1), 0, begun) && state.keeps(node, 1, begun));
        assert!(!state.keeps(node, 0, begun));
        drop(shares);
        assert!(state.keeps(node, 0, begun) && state.to_replace(node) == 0);
        assert!(!state.keeps(node, 0, begun + LONGEST) && state.keeps(node, 1, begun + LONGEST));
        state.adopt(pair("postgres://app:three@a/db"), begun);
        assert!(!state.keeps(node, 0, begun), "two changes ago");
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
