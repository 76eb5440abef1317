//! Which node takes writes, decided from what the probes saw. Pure: time is passed in, actions come out.
//!
//! Invariant: a node is the writer only if it said so itself after every evidence against it, no node of the cluster
//! ever showed a higher timeline, and no other server shows the same one, unless the operator named this one. A thawed or
//! resurrected primary still believes in itself and a standby may even follow it, which is no reader then; only the
//! higher timeline of the promoted node tells the truth. What others say of a node changes when it is asked, and nothing else.

mod cluster;
mod failover;
mod lag;
mod lineage;
mod node;
mod split;
mod tempo;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use cluster::{Survey, survey};
use failover::Failover;
use lag::Lag;
pub(crate) use lineage::Following;
use node::NodeState;
pub(crate) use node::{Evidence, Failure, FailureKind, Observation, Phase, Role};
pub(crate) use split::Split;
pub(crate) use tempo::Tempo;

/// A node, by its place in the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) usize);

/// What the shell has to do after an evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// End every operation on the node and close its connections: it must not acknowledge anything any more.
    Cut(NodeId, CutReason),
    /// Close the node's idle connections: the server behind them is gone.
    Drain(NodeId),
    /// The node can be used: keep warm connections to it.
    Warm(NodeId),
    /// The node takes the writes of another, after so long without a primary.
    TookOver(NodeId, Duration),
}

/// Why a node is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutReason {
    /// It says primary with a timeline below the highest seen.
    Deposed,
    /// Another server says primary with the same timeline.
    SplitBrain,
    /// Another one does, and is the one that the operator named.
    Overruled,
    /// Its system identifier is another one.
    WrongCluster,
    /// Its name has moved, and the primary is at the new address.
    Moved,
}

impl CutReason {
    /// For the error of an operation that was cut.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deposed => "another node is primary with a higher timeline",
            Self::SplitBrain => "two servers say primary with the same timeline",
            Self::Overruled => {
                "two servers say primary with the same timeline, and the operator named the other one"
            }
            Self::WrongCluster => "it belongs to another cluster",
            Self::Moved => "its name has moved to another address",
        }
    }
}

/// Why there is no writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWriter {
    /// Not every node has been heard or given up yet, so that a deposed primary could not be told.
    Unsurveyed,
    /// No reachable node is the primary.
    NoPrimary,
    /// Two servers say primary with the same timeline.
    SplitBrain,
    /// The nodes are of different clusters, and none has the majority.
    Disagreement,
}

/// For how long a node is asked eagerly because it is expected to become the primary.
const EXPECTATION: Duration = Duration::from_secs(10);
/// For how long a panic may last.
const PANIC_LIMIT: Duration = Duration::from_secs(30);

/// All that is known of the nodes of one database.
#[derive(Debug)]
pub(crate) struct Topology {
    nodes: Vec<NodeState>,
    /// The system identifier that all nodes must have.
    cluster: Option<i64>,
    /// Before that is decided: whether the nodes disagree about it.
    disagreed: bool,
    /// The highest timeline a primary of the cluster ever showed.
    highest: Option<u32>,
    split: bool,
    /// The node that the operator believes in a split brain.
    named: Option<NodeId>,
    panic_since: Option<Instant>,
    /// Who is said to become the primary, and since when.
    expected: Option<(NodeId, Instant)>,
    failover: Failover,
    lag: Lag,
    /// Whether a node that can be read from is enough to be calm.
    content: bool,
}

impl Topology {
    /// `count` nodes of which nothing is known.
    pub(crate) fn new(count: usize, max_lag: Duration, now: Instant) -> Self {
        Self {
            nodes: (0..count).map(|_| NodeState::default()).collect(),
            cluster: None,
            disagreed: false,
            highest: None,
            split: false,
            named: None,
            panic_since: Some(now),
            expected: None,
            failover: Failover::default(),
            lag: Lag::new(max_lag),
            content: false,
        }
    }

    /// For those who only read: the want of a primary is no reason to hurry.
    pub(crate) fn content_without_primary(self) -> Self {
        Self {
            content: true,
            ..self
        }
    }

    /// Takes in what a probe that was asked at `asked` found. Older evidence than a node's newest is ignored.
    pub(crate) fn report(
        &mut self,
        id: NodeId,
        asked: Instant,
        evidence: Evidence,
        now: Instant,
    ) -> Vec<Action> {
        let Some(node) = self.nodes.get_mut(id.0) else {
            return Vec::new();
        };
        let before = node.phase;
        let mut actions = Vec::new();
        let moved = matches!(evidence, Evidence::Moved(_));
        if !node.take(asked, evidence, now) && !moved {
            return actions;
        }
        let (after, outdated) = (node.phase, node.connections_outdated() || moved);
        node.fit &= !outdated;
        if moved {
            actions.push(Action::Cut(id, CutReason::Moved));
        } else if outdated || (after != Phase::Up && node.connection_lost()) {
            actions.push(Action::Drain(id));
        }
        let lost = before == Phase::Up && after != Phase::Up;
        self.settle(&mut actions);
        let taken = self.failover.note(self.writer().ok(), now);
        actions.extend(taken.map(|(id, gap)| Action::TookOver(id, gap)));
        if after == Phase::Up {
            self.note_writer_position(id, asked);
        }
        self.keep_tempo(lost, now);
        actions
    }

    /// A user of the node saw something suspicious at `now`: until a probe asked later says otherwise, the node is
    /// suspect.
    pub(crate) fn suspect(&mut self, id: NodeId, now: Instant) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            let lost = node.phase == Phase::Up;
            node.suspect(now);
            self.failover.note(self.writer().ok(), now);
            self.keep_tempo(lost, now);
        }
    }

    /// The node that takes writes now.
    pub(crate) fn writer(&self) -> Result<NodeId, NoWriter> {
        if self.cluster.is_none() {
            return Err(match self.disagreed {
                true => NoWriter::Disagreement,
                false => NoWriter::Unsurveyed,
            });
        }
        if self.split {
            return Err(NoWriter::SplitBrain);
        }
        self.leaders()
            .find(|(_, node)| node.phase == Phase::Up)
            .map(|(id, _)| id)
            .ok_or(NoWriter::NoPrimary)
    }

    /// The replicas that are near enough to the primary, in URL order.
    pub(crate) fn readers(&self, now: Instant) -> Vec<NodeId> {
        self.each()
            .filter(|(id, node)| node.phase == Phase::Up && self.usable(*id))
            .filter(|(_, node)| match node.role() {
                Some(Role::Standby {
                    replayed: Some(position),
                    ..
                }) => self.lag.is_near(position, now),
                _ => false,
            })
            .map(|(id, _)| id)
            .collect()
    }

    /// The standbys that answer, however far behind, in URL order.
    pub(crate) fn standbys(&self) -> Vec<NodeId> {
        self.each()
            .filter(|(id, node)| node.phase == Phase::Up && self.usable(*id))
            .filter(|(_, node)| matches!(node.role(), Some(Role::Standby { .. })))
            .map(|(id, _)| id)
            .collect()
    }

    /// How eagerly to probe at `now`.
    pub(crate) fn tempo(&self, now: Instant) -> Tempo {
        match self.panic_since {
            None => Tempo::Calm,
            Some(since) if now.saturating_duration_since(since) <= PANIC_LIMIT => Tempo::Panic,
            Some(_) => Tempo::Worn,
        }
    }

    /// A source that may be wrong says that the node is the primary now. Whether it has to be asked.
    pub(crate) fn expect(&mut self, id: NodeId, now: Instant) -> bool {
        let news = self.writer() != Ok(id);
        if news {
            self.expected = Some((id, now));
        }
        news
    }

    /// How eagerly to probe one node at `now`: as in a panic while it is expected to become the primary.
    pub(crate) fn tempo_of(&self, id: NodeId, now: Instant) -> Tempo {
        let expected = self.expected.is_some_and(|(expected, since)| {
            let says_so = self.node(id).is_some_and(|node| node.timeline().is_some());
            expected == id && !says_so && now.saturating_duration_since(since) <= EXPECTATION
        });
        if expected { Tempo::Panic } else { self.tempo(now) }
    }

    /// What is known of one node.
    pub(crate) fn node(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.get(id.0)
    }

    /// Whether the node says primary and must not be believed.
    pub(crate) fn deposed(&self, id: NodeId) -> bool {
        let timeline = self.node(id).and_then(NodeState::timeline);
        self.of_cluster(id) && timeline.is_some() && (timeline < self.highest || self.overruled(id))
    }

    /// Whether the node is a standby on another history than the last known primary's: it goes on following a deposed
    /// one.
    pub(crate) fn diverged(&self, id: NodeId) -> bool {
        let (timeline, began) = self.lag.timeline();
        self.node(id).is_some_and(|node| node.diverged(timeline, began))
    }

    /// How far a standby is behind, if that is known.
    pub(crate) fn lag_of(&self, id: NodeId, now: Instant) -> Option<Duration> {
        match self.node(id)?.role()? {
            Role::Standby { replayed, .. } => self.lag.of(replayed?, now),
            Role::Primary { .. } => None,
        }
    }

    /// Whether every node that answered refused our credentials several times, and none let us in.
    pub(crate) fn credentials_refused(&self) -> Option<&Failure> {
        const TIMES: u32 = 3;
        if self.nodes.iter().any(|node| node.last().is_some()) {
            return None;
        }
        let mut refusals = self.nodes.iter().filter(|node| node.refusals > 0);
        let first = refusals.next()?;
        let enough = first.refusals >= TIMES && refusals.all(|node| node.refusals >= TIMES);
        if enough { first.failure() } else { None }
    }

    fn each(&self) -> impl Iterator<Item = (NodeId, &NodeState)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (NodeId(index), node))
    }

    /// The nodes that say primary with the highest timeline and may be believed.
    fn leaders(&self) -> impl Iterator<Item = (NodeId, &NodeState)> {
        self.each().filter(|(id, node)| {
            let highest = node.timeline().is_some() && node.timeline() == self.highest;
            highest && self.of_cluster(*id) && !self.overruled(*id)
        })
    }

    fn of_cluster(&self, id: NodeId) -> bool {
        let system = self.node(id).and_then(|node| node.last()).map(|seen| seen.system);
        system.is_some() && system == self.cluster
    }

    fn usable(&self, id: NodeId) -> bool {
        let takes_part = match self.split() {
            Split::None => true,
            // Whom a standby follows does not show: the timeline is the same.
            Split::Decided => self.leaders().any(|(leader, _)| leader == id),
            Split::Open => false,
        };
        takes_part && self.of_cluster(id) && !self.deposed(id) && !self.diverged(id)
    }

    /// Draws the conclusions from the present states; each node to be cut is named once.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        if self.cluster.is_none() && self.nodes.iter().all(|node| node.phase != Phase::Unheard) {
            let said: Vec<_> = self
                .nodes
                .iter()
                .map(|node| node.last().map(|seen| seen.system))
                .collect();
            let survey = survey(&said);
            self.disagreed = survey == Survey::Disagreement;
            if let Survey::Cluster(system) = survey {
                self.cluster = Some(system);
            }
        }
        let cluster = self.cluster;
        let seen = self
            .nodes
            .iter()
            .filter(|node| cluster.is_some() && node.last().map(|seen| seen.system) == cluster);
        self.highest = seen.filter_map(NodeState::peak).max().max(self.highest);

        self.settle_split();

        for index in 0..self.nodes.len() {
            let id = NodeId(index);
            let reason = if self.cluster.is_none() || self.nodes[index].last().is_none() {
                None
            } else if !self.of_cluster(id) {
                Some(CutReason::WrongCluster)
            } else if self.overruled(id) {
                Some(CutReason::Overruled)
            } else if self.deposed(id) {
                Some(CutReason::Deposed)
            } else if self.split && self.nodes[index].timeline().is_some() {
                Some(CutReason::SplitBrain)
            } else {
                None
            };
            let fit = self.nodes[index].phase == Phase::Up && self.usable(id);
            let node = &mut self.nodes[index];
            if let Some(reason) = reason.filter(|reason| node.cut != Some(*reason)) {
                actions.push(Action::Cut(id, reason));
            }
            node.cut = reason;
            if fit && !node.fit {
                actions.push(Action::Warm(id));
            }
            node.fit = fit;
        }
    }

    fn note_writer_position(&mut self, id: NodeId, asked: Instant) {
        if self.writer() != Ok(id) {
            return;
        }
        let observation = self.node(id).and_then(|node| node.last());
        if let Some(Observation {
            role: Role::Primary {
                timeline, position, ..
            },
            ..
        }) = observation
        {
            let (timeline, position) = (*timeline, *position);
            self.lag.note(timeline, position, asked);
            for node in &mut self.nodes {
                node.compare(timeline, position, asked);
            }
        }
    }

    fn keep_tempo(&mut self, lost: bool, now: Instant) {
        let confirmed = self
            .writer()
            .ok()
            .and_then(|id| self.node(id))
            .and_then(|node| node.newest)
            .or_else(|| {
                let fit = self.nodes.iter().filter(|node| self.content && node.fit);
                fit.filter_map(|node| node.newest).max()
            });
        match (confirmed, self.panic_since) {
            // Confirmed by an answer to a question that was asked after the panic began.
            (Some(asked), Some(since)) if asked >= since && !lost => self.panic_since = None,
            (_, Some(_)) => {}
            (Some(_), None) if !lost => {}
            (_, None) => self.panic_since = Some(now),
        }
    }
}

impl std::fmt::Display for NoWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unsurveyed => "not every node has been heard or given up yet",
            Self::NoPrimary => "no reachable node is the primary",
            Self::SplitBrain => "two servers say primary with the same timeline",
            Self::Disagreement => {
                "the nodes are of different clusters, and none of these has the majority of the nodes"
            }
        })
    }
}
