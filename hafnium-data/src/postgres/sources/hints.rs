//! What becomes of what a source says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::follow::News;
use super::{Member, MemberRole};
use crate::postgres::monitor::Monitor;
use crate::postgres::topology::NodeId;

/// The members that each source named last.
#[derive(Default)]
pub(crate) struct Hints(Mutex<BTreeMap<&'static str, Vec<Member>>>);

impl Monitor {
    /// Takes in what `source` says.
    pub(crate) fn hear(&self, source: &'static str, members: Vec<Member>, news: &News) {
        if let Some(id) = news.leader.as_ref().and_then(|leader| self.place_of(leader)) {
            self.expect(id, source);
        }
        let unnamed: Vec<_> = members
            .into_iter()
            .filter(|member| self.place_of(member).is_none())
            .collect();
        if news.changed && !unnamed.is_empty() {
            let members: Vec<_> = unnamed.iter().map(Member::label).collect();
            let members = members.join(", ");
            tracing::warn!(source, members, "the url does not name these members");
        }
        let mut hints = self.hints.0.lock().unwrap_or_else(PoisonError::into_inner);
        hints.insert(source, unnamed);
    }

    /// The members that some source knows and the URL does not name, with what is known of each.
    pub(crate) fn unnamed(&self) -> Vec<(Member, String)> {
        let hints = self.hints.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |source: &str, member: &Member| {
            let role = match member.role {
                MemberRole::Leader => "leader",
                MemberRole::Replica => "replica",
            };
            let timeline = member
                .timeline
                .map_or_else(String::new, |timeline| format!(" on timeline {timeline}"));
            let lag = member
                .lag
                .map_or_else(String::new, |lag| format!(", {lag} bytes behind"));
            format!("{role}{timeline}{lag}, says {source}; the url does not name it")
        };
        let each = hints.iter().flat_map(|(source, members)| {
            let said = move |member: &Member| (member.clone(), of(source, member));
            members.iter().map(said)
        });
        each.collect()
    }

    /// The node that a member is: by its name, or by the address at which it was found.
    fn place_of(&self, member: &Member) -> Option<NodeId> {
        let label = member.label();
        let address: Option<IpAddr> = member.host.parse().ok();
        let is = |node: &&std::sync::Arc<crate::postgres::pool::Node>| {
            node.label == label || address.is_some_and(|address| node.opener.is_at(address, member.port))
        };
        self.nodes().iter().find(is).map(|node| node.id)
    }

    /// `source` says that the node is the primary, or about to become it: it is asked until it says so itself.
    fn expect(&self, id: NodeId, source: &str) {
        let expected = self.lock().expect(id, Instant::now());
        if let Some(node) = self.node(id).filter(|_| expected) {
            tracing::info!(node = node.label, source, "expected to become the primary");
            self.wake();
        }
    }
}
