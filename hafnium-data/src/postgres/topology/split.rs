//! Two servers that say primary with the same timeline: no one but an operator can tell which history goes on.

use super::{NodeId, Phase, Topology};

/// Whether servers contend for being the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Split {
    #[default]
    None,
    /// Nobody takes writes.
    Open,
    /// The operator said whom to believe.
    Decided,
}

impl Topology {
    /// In a split brain `named` is believed.
    pub(crate) fn believing(self, named: Option<NodeId>) -> Self {
        Self { named, ..self }
    }

    pub(crate) fn split(&self) -> Split {
        let contends = |id: NodeId| self.overruled(id) && self.phase(id) != Phase::Down;
        if self.split {
            Split::Open
        } else if self.each().any(|(id, _)| contends(id)) {
            Split::Decided
        } else {
            Split::None
        }
    }

    /// Whether the node says primary on a timeline on which the operator named another. Stays so when that other one is
    /// out of reach, until the node says something else.
    pub(crate) fn overruled(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let timeline = node.and_then(|node| node.timeline());
        timeline.is_some() && timeline == node.and_then(|node| node.overruled)
    }

    /// Looks for contenders and decides between them where the operator did.
    pub(super) fn settle_split(&mut self) {
        let named = self.named.filter(|id| self.phase(*id) != Phase::Down);
        let believed = self.leaders().find(|(id, _)| Some(*id) == named);
        let believed = believed.and_then(|(_, node)| node.last().map(|seen| seen.started));
        if let Some(believed) = believed {
            let others = self.leaders().filter(|(_, node)| {
                node.phase != Phase::Down && node.last().is_some_and(|seen| seen.started != believed)
            });
            let others: Vec<_> = others.map(|(id, _)| id).collect();
            for NodeId(index) in others {
                self.nodes[index].overruled = self.highest;
            }
        }
        // The same server under two names is no split brain: its start time is the same to the microsecond.
        let mut servers = self
            .leaders()
            .filter(|(_, node)| node.phase != Phase::Down)
            .filter_map(|(_, node)| node.last().map(|seen| seen.started));
        let first = servers.next();
        let split = servers.any(|started| Some(started) != first);
        drop(servers);
        self.split = split;
    }

    fn phase(&self, id: NodeId) -> Phase {
        self.node(id).map(|node| node.phase).unwrap_or_default()
    }
}
