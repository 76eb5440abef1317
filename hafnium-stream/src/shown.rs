//! What the service's topology shows of a cluster: its brokers, as its metadata named them last.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use hafnium_core::topology::{Node, NodeState, Registration, Topology, View};
use rdkafka::metadata::Metadata;

use crate::kafka::Cluster;

/// The brokers that were ever named, with what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By id, so that the order stays; whether the newest metadata names the broker.
    brokers: BTreeMap<i32, (String, bool)>,
    trouble: Option<String>,
}

impl Brokers {
    /// Takes in what a broker answered.
    pub(crate) fn named(&self, metadata: &Metadata) {
        let brokers = metadata.brokers().iter();
        let address = |host: &str, port: i32| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.take(brokers.map(|broker| (broker.id(), address(broker.host(), broker.port()))));
    }

    fn take(&self, brokers: impl Iterator<Item = (i32, String)>) {
        let mut known = self.lock();
        known.trouble = None;
        known.brokers.values_mut().for_each(|(_, named)| *named = false);
        known
            .brokers
            .extend(brokers.map(|(id, address)| (id, (address, true))));
    }

    /// No broker answered.
    pub(crate) fn unreachable(&self, reason: &str) {
        self.lock().trouble = Some(reason.to_owned());
    }

    fn view(&self) -> View {
        let known = self.lock();
        let nodes = known.brokers.iter().map(|(id, (address, named))| {
            let node = Node::new(address).role("broker");
            match (&known.trouble, named) {
                (Some(_), _) => node.state(NodeState::Suspect).detail(format!("id {id}")),
                (None, true) => node.state(NodeState::Up).detail(format!("id {id}")),
                (None, false) => node
                    .state(NodeState::Down)
                    .detail(format!("id {id}, no longer named by the cluster")),
            }
        });
        let view = View::new().nodes(nodes);
        match &known.trouble {
            Some(reason) => view.trouble(reason),
            None => view,
        }
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows the brokers of `cluster`, for as long as it lives.
pub(crate) fn register(component: &str, cluster: Weak<Cluster>, topology: &Topology) -> Registration {
    topology.register(component, "kafka", move || match cluster.upgrade() {
        Some(cluster) => cluster.brokers.view(),
        None => View::new().trouble("stopped"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(brokers: &Brokers) -> Vec<(String, &'static str)> {
        let nodes = brokers.view().nodes.into_iter();
        nodes.map(|node| (node.address, node.state.as_str())).collect()
    }

    #[test]
    fn a_broker_that_is_no_longer_named_is_down_and_silence_makes_all_suspect() {
        let brokers = Brokers::default();
        let (a, b) = ((1, "a:9092".to_owned()), (2, "b:9092".to_owned()));
        brokers.take([a.clone(), b].into_iter());
        brokers.take([a].into_iter());
        assert_eq!(
            seen(&brokers),
            [("a:9092".to_owned(), "up"), ("b:9092".to_owned(), "down")]
        );
        brokers.unreachable("timed out");
        assert!(seen(&brokers).iter().all(|(_, state)| *state == "suspect"));
        assert_eq!(brokers.view().trouble.as_deref(), Some("timed out"));
    }
}
