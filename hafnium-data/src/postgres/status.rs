//! What is told of the nodes, in reports and errors.

use std::time::Duration;

use tokio::time::Instant;

use super::monitor::Monitor;
use super::topology::{NoWriter, NodeId, Phase, Role, Topology};

/// What is known of one node, for reports.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Host and port.
    pub node: String,
    /// `primary`, `standby`, `deposed`, `diverged` (a standby that goes on following a deposed primary), or `unknown`
    /// before the first answer.
    pub role: &'static str,
    /// `up`, `suspect`, `down`, or `unheard` before the first probe ended.
    pub state: &'static str,
    /// The timeline on which the node says it is primary.
    pub timeline: Option<u32>,
    /// The zone that `zones` says it stands in.
    pub zone: Option<String>,
    /// How far a standby is behind the primary, if that is known.
    pub lag: Option<Duration>,
    /// Connections in use by operations.
    pub in_use: usize,
    /// Connections open and free.
    pub idle: usize,
    /// Connections the pool may hold.
    pub max: usize,
    /// Operations that wait for a connection.
    pub waiting: usize,
    /// What the newest failed probe saw.
    pub failure: Option<String>,
}

impl Monitor {
    /// Why no node can be used: what is known of each.
    pub(crate) fn explain(&self) -> String {
        let topology = self.lock();
        let verdict = match topology.writer() {
            Err(NoWriter::Disagreement) => {
                return format!("{}: {}", NoWriter::Disagreement, self.clusters(&topology));
            }
            Err(reason @ (NoWriter::SplitBrain | NoWriter::Unsurveyed)) => format!("{reason}; "),
            _ => String::new(),
        };
        let nodes: Vec<String> = self
            .nodes()
            .iter()
            .map(|node| {
                let state = topology.node(node.id);
                let seen = match state.and_then(|state| state.failure()) {
                    Some(failure) => failure.reason.to_string(),
                    None => match node.opener.last_failure() {
                        Some(login) => format!("{}, last {login}", role(&topology, node.id)),
                        None => role(&topology, node.id).to_owned(),
                    },
                };
                format!("{}: {seen}", node.label)
            })
            .collect();
        format!("{verdict}{}", nodes.join(", "))
    }

    /// The reason of the servers when every one that answers refuses our credentials.
    pub(crate) fn credentials_refused(&self) -> Option<String> {
        self.lock()
            .credentials_refused()
            .map(|failure| failure.reason.to_string())
    }

    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        let topology = self.lock();
        let now = Instant::now();
        self.nodes()
            .iter()
            .map(|node| {
                let state = topology.node(node.id);
                let pool = node.pool.status();
                NodeStatus {
                    node: node.label.clone(),
                    role: role(&topology, node.id),
                    state: match state.map(|state| state.phase).unwrap_or_default() {
                        Phase::Unheard => "unheard",
                        Phase::Up => "up",
                        Phase::Suspect => "suspect",
                        Phase::Down => "down",
                    },
                    timeline: state.and_then(|state| state.timeline()),
                    zone: self.zones.of(node.id).map(str::to_owned),
                    lag: topology.lag_of(node.id, now),
                    in_use: node.in_use(),
                    idle: node.idle(),
                    max: pool.max_size,
                    waiting: node.waiting(),
                    failure: state
                        .and_then(|state| state.failure())
                        .map(|failure| failure.reason.to_string()),
                }
            })
            .collect()
    }
}

/// One word for what a node is.
pub(crate) fn role(topology: &Topology, id: NodeId) -> &'static str {
    match topology.node(id).and_then(|state| state.role()) {
        None => "unknown",
        Some(Role::Standby { .. }) if topology.diverged(id) => "diverged",
        Some(Role::Standby { .. }) => "standby",
        Some(Role::Primary { .. }) if topology.deposed(id) => "deposed",
        Some(Role::Primary { .. }) => "primary",
    }
}
