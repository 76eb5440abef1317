//! The thin shell around the topology: one prober per node, one lock, one published snapshot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafnium_core::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::instruments::{NodeInstruments, SplitInstruments};
use super::pool::Node;
use super::probe::Probe;
use super::route::Leader;
use super::rumour::Rumours;
use super::session::SessionAttrs;
use super::sources::Hints;
use super::status::role;
use super::topology::{Action, CutReason, Evidence, NoWriter, NodeId, Phase, Role, Split, Tempo, Topology};
use super::zones::Zones;

/// Between an answer and the next question, at least.
const BREATH: Duration = Duration::from_millis(1);

/// What the router needs to know, republished at each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) writer: Result<NodeId, NoWriter>,
    pub(crate) readers: Vec<NodeId>,
    /// The standbys, however far behind.
    pub(crate) standbys: Vec<NodeId>,
    /// Whether the sessions of the writer are read-only.
    pub(crate) read_only: bool,
    /// What the last known primary showed; stays when there is none for a while.
    pub(crate) leader: Option<Leader>,
    pub(crate) split: Split,
}

/// Watches the nodes of one database.
pub(crate) struct Monitor {
    nodes: Vec<Arc<Node>>,
    instruments: Vec<NodeInstruments>,
    split: SplitInstruments,
    warm: usize,
    topology: Mutex<Topology>,
    pub(crate) hints: Hints,
    pub(crate) zones: Zones,
    rumours: Mutex<Rumours>,
    snapshot: watch::Sender<Snapshot>,
    /// Counts the panics, so that sleeping probers wake.
    alarm: watch::Sender<u64>,
    panicking: AtomicBool,
}

impl Monitor {
    pub(crate) fn new(
        nodes: Vec<Arc<Node>>,
        instruments: Vec<NodeInstruments>,
        split: SplitInstruments,
        named: Option<NodeId>,
        warm: usize,
        max_lag: Duration,
        attrs: SessionAttrs,
    ) -> Self {
        let topology = Topology::new(nodes.len(), max_lag, Instant::now()).believing(named);
        let topology = if attrs.reads() {
            topology.content_without_primary()
        } else {
            topology
        };
        Self {
            nodes,
            instruments,
            split,
            warm,
            topology: Mutex::new(topology),
            hints: Hints::default(),
            zones: Zones::default(),
            rumours: Mutex::default(),
            snapshot: watch::Sender::new(Snapshot {
                writer: Err(NoWriter::Unsurveyed),
                readers: Vec::new(),
                standbys: Vec::new(),
                read_only: false,
                leader: None,
                split: Split::None,
            }),
            alarm: watch::Sender::new(0),
            panicking: AtomicBool::new(true),
        }
    }

    /// With what is known of where the nodes stand.
    pub(crate) fn placed(self, zones: Zones) -> Self {
        Self { zones, ..self }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// What is published now. Not to be held across an await: publishing waits for it.
    pub(crate) fn snapshot(&self) -> watch::Ref<'_, Snapshot> {
        self.snapshot.borrow()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id.0)
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Starts a prober per node; they end when `stop` is cancelled. A panic of one is fatal to the service.
    pub(crate) fn start(
        self: &Arc<Self>,
        name: &str,
        probes: Vec<Probe>,
        tasks: &Tasks,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        for (node, probe) in self.nodes.iter().zip(probes) {
            let prober = self.clone().probe_for_ever(node.id, probe);
            let stop = stop.clone();
            let prober = async move {
                stop.run_until_cancelled(prober).await;
            };
            tracker.spawn(tasks.guard(name, prober));
        }
    }

    async fn probe_for_ever(self: Arc<Self>, id: NodeId, mut probe: Probe) {
        let mut alarm = self.alarm.subscribe();
        loop {
            let asked = Instant::now();
            probe
                .ask(|asked, evidence| self.report(id, asked, evidence))
                .await;
            // From question to question, however long the answer took; but a server that is slow is not asked without a
            // breath.
            let pause = self.pause(id).saturating_sub(asked.elapsed()).max(BREATH);
            tokio::select! {
                // A panic that began meanwhile is seen at once. The sender lives in `self`.
                _ = tokio::time::timeout(pause, alarm.changed()) => {}
                () = probe.moved(|asked, evidence| self.report(id, asked, evidence)) => {}
            }
        }
    }

    /// How long from one question to a node to the next.
    fn pause(&self, id: NodeId) -> Duration {
        let topology = self.lock();
        let kind = topology
            .node(id)
            .and_then(|node| node.failure())
            .map(|failure| failure.kind);
        topology.tempo_of(id, Instant::now()).pause(kind)
    }

    /// Sleeping probers ask now.
    pub(crate) fn wake(&self) {
        self.alarm.send_modify(|count| *count += 1);
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Topology> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, id: NodeId, asked: Instant, evidence: Evidence) {
        let mut topology = self.lock();
        let now = Instant::now();
        // What one node says may change what is known of another.
        let roles = |topology: &Topology| -> Vec<_> {
            self.nodes.iter().map(|node| role(topology, node.id)).collect()
        };
        let before = roles(&topology);
        if let (Some(node), Evidence::Seen(_)) = (self.node(id), &evidence) {
            node.round_trips.note(now.saturating_duration_since(asked));
        }
        let actions = topology.report(id, asked, evidence, now);
        let changes = before.into_iter().zip(roles(&topology)).zip(&self.nodes);
        for ((before, after), node) in changes.filter(|((before, after), _)| before != after) {
            tracing::info!(node = node.label, before, after, "role changed");
        }
        for action in actions {
            self.act(action);
        }
        let fit = topology.node(id).is_some_and(|state| state.fit);
        if fit && topology.tempo(now) == Tempo::Calm {
            // A login may have failed since, or a connection been closed.
            self.keep_warm(id);
        }
        self.publish(&topology, now);
    }

    fn keep_warm(&self, id: NodeId) {
        if let Some(node) = self.node(id) {
            let open = node.pool.status().size;
            node.opener.warm(self.warm.saturating_sub(open));
        }
    }

    /// A user of the node saw a lost connection or the like: probe at once, and let others wait for the answer.
    pub(crate) fn suspect(&self, id: NodeId) {
        let mut topology = self.lock();
        let now = Instant::now();
        topology.suspect(id, now);
        if let Some(instruments) = self.instruments.get(id.0) {
            instruments.suspected.add(1);
        }
        self.publish(&topology, now);
    }

    /// The token of a client speaks of a primary that was not seen yet: sleeping probers ask now, if they have not on the
    /// word of another one just before.
    pub(crate) fn heed_rumour(&self) {
        let mut rumours = self.rumours.lock().unwrap_or_else(PoisonError::into_inner);
        if rumours.heed(Instant::now()) {
            self.wake();
        }
    }

    /// Under the lock, so that a node is cut before its successor is announced. Nothing here waits.
    fn act(&self, action: Action) {
        match action {
            Action::Cut(id, reason) => {
                let (Some(node), Some(instruments)) = (self.node(id), self.instruments.get(id.0)) else {
                    return;
                };
                if reason != CutReason::Moved {
                    // Each would otherwise have been written, or acknowledged, by a node that must not.
                    instruments.refused.add(node.in_use() as u64);
                }
                node.cut(reason.as_str());
                match reason {
                    CutReason::Moved => {
                        tracing::info!(node = node.label, "its name has moved: the old address is left");
                        // No connection is warm there but the one that found it.
                        node.opener.move_in();
                    }
                    CutReason::Deposed => tracing::warn!(
                        node = node.label,
                        "cut: it says primary, but another node has a higher timeline"
                    ),
                    CutReason::SplitBrain => tracing::error!(
                        node = node.label,
                        "writes stopped: two servers say primary with the same timeline"
                    ),
                    CutReason::Overruled => tracing::error!(
                        node = node.label,
                        "cut: two servers say primary with the same timeline, and split_brain_primary names another"
                    ),
                    CutReason::WrongCluster => {
                        tracing::error!(node = node.label, "refused: it belongs to another cluster");
                    }
                }
            }
            Action::Drain(id) => {
                if let Some(node) = self.node(id) {
                    node.drain();
                }
            }
            Action::Warm(id) => self.keep_warm(id),
            Action::TookOver(id, gap) => {
                if let Some(instruments) = self.instruments.get(id.0) {
                    instruments.failover.record(gap.as_secs_f64());
                }
            }
        }
    }

    fn publish(&self, topology: &Topology, now: Instant) {
        let snapshot = Snapshot {
            writer: topology.writer(),
            readers: topology.readers(now),
            standbys: topology.standbys(),
            read_only: is_read_only(topology),
            leader: leader(topology).or(self.snapshot.borrow().leader),
            split: topology.split(),
        };
        self.split.show(snapshot.split);
        for (node, instruments) in self.nodes.iter().zip(&self.instruments) {
            let state = topology.node(node.id);
            let up = state.is_some_and(|state| state.phase == Phase::Up);
            let shown = match role(topology, node.id) {
                // It says so, and is it only if it takes the writes.
                "primary" if snapshot.writer != Ok(node.id) => None,
                shown => up.then_some(shown),
            };
            instruments.role(shown);
            instruments.lag(topology.lag_of(node.id, now));
            node.opener.occupancy.look(node);
        }
        let panic = topology.tempo(now) == Tempo::Panic;
        if panic && !self.panicking.swap(panic, Ordering::Relaxed) {
            self.wake();
        } else {
            self.panicking.store(panic, Ordering::Relaxed);
        }
        self.snapshot.send_if_modified(|current| {
            if *current == snapshot {
                return false;
            }
            if current.writer != snapshot.writer {
                match snapshot.writer.map(|id| self.node(id)) {
                    Ok(Some(node)) => tracing::info!(node = node.label, "writes go here"),
                    Ok(None) => {}
                    Err(NoWriter::Disagreement) => tracing::error!(
                        clusters = self.clusters(topology),
                        "no node takes writes: {}",
                        NoWriter::Disagreement
                    ),
                    Err(reason) => tracing::warn!(?reason, "no node takes writes"),
                }
            }
            self.tell_of_readers(&current.readers, &snapshot.readers, topology, now);
            *current = snapshot;
            true
        });
    }

    fn tell_of_readers(&self, before: &[NodeId], after: &[NodeId], topology: &Topology, now: Instant) {
        for node in &self.nodes {
            match (before.contains(&node.id), after.contains(&node.id)) {
                (false, true) => tracing::info!(node = node.label, "replicas' reads go here"),
                (true, false) => {
                    let lag = topology.lag_of(node.id, now);
                    tracing::warn!(node = node.label, ?lag, "no replicas' reads go here any more");
                }
                _ => {}
            }
        }
    }

    /// Which cluster each node says it is of.
    pub(crate) fn clusters(&self, topology: &Topology) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let seen = topology.node(node.id).and_then(|state| state.last());
            let system = seen.map(|seen| seen.system.cast_unsigned().to_string());
            format!("{}: {}", node.label, system.as_deref().unwrap_or("unknown"))
        });
        nodes.collect::<Vec<_>>().join(", ")
    }
}

fn leader(topology: &Topology) -> Option<Leader> {
    let seen = topology.node(topology.writer().ok()?)?.last()?;
    match seen.role {
        Role::Primary { timeline, .. } => Some(Leader {
            system: seen.system.cast_unsigned(),
            timeline,
        }),
        Role::Standby { .. } => None,
    }
}

fn is_read_only(topology: &Topology) -> bool {
    let writer = topology.writer().ok().and_then(|id| topology.node(id));
    let role = writer.and_then(|node| node.role());
    matches!(role, Some(Role::Primary { read_only: true, .. }))
}
