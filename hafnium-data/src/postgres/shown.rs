//! What the service's topology shows of a database.

use std::sync::{Arc, Weak};

use hafnium_core::topology::{Node, NodeState, Pool, Registration, Topology, View};

use super::credentials::Credentials;
use super::monitor::Monitor;
use super::status::NodeStatus;

/// Shows the nodes that `monitor` watches, for as long as it lives.
pub(crate) fn register(
    component: &str,
    monitor: &Arc<Monitor>,
    credentials: &Arc<Credentials>,
    topology: &Topology,
) -> Registration {
    let monitor: Weak<Monitor> = Arc::downgrade(monitor);
    let credentials = credentials.clone();
    topology.register(component, "postgres", move || match monitor.upgrade() {
        Some(monitor) => view(&monitor, &credentials),
        None => View::new().trouble("stopped"),
    })
}

fn view(monitor: &Monitor, credentials: &Credentials) -> View {
    let unnamed = monitor.unnamed();
    let unnamed = unnamed
        .iter()
        .map(|(member, said)| Node::new(member.label()).detail(said));
    let view = View::new()
        .nodes(monitor.statuses().iter().map(node))
        .nodes(unnamed);
    match monitor.watch().borrow().writer {
        Ok(_) => match credentials.trouble() {
            Some(trouble) => view.trouble(trouble),
            None => view,
        },
        Err(reason) => view.trouble(reason.to_string()),
    }
}

fn node(status: &NodeStatus) -> Node {
    let state = match status.state {
        "up" => NodeState::Up,
        "suspect" => NodeState::Suspect,
        "down" => NodeState::Down,
        _ => NodeState::Unknown,
    };
    let pool = Pool::new(status.in_use, status.idle, status.max).waiting(status.waiting);
    let mut node = Node::new(&status.node).role(status.role).state(state).pool(pool);
    node.zone.clone_from(&status.zone);
    match (&status.failure, status.lag) {
        (Some(failure), _) => node.detail(failure),
        (None, Some(lag)) => node.detail(format!("{} ms behind", lag.as_millis())),
        (None, None) => node,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status() -> NodeStatus {
        NodeStatus {
            node: "a:5432".into(),
            role: "standby",
            state: "up",
            timeline: None,
            zone: Some("b".into()),
            lag: Some(Duration::from_millis(12)),
            in_use: 1,
            idle: 3,
            max: 8,
            waiting: 2,
            failure: None,
        }
    }

    #[test]
    fn a_node_shows_its_role_pool_and_how_far_it_is_behind() {
        let shown = node(&status());
        assert_eq!(shown.address, "a:5432");
        assert_eq!(shown.zone.as_deref(), Some("b"));
        assert_eq!((&*shown.role, shown.state), ("standby", NodeState::Up));
        assert_eq!(shown.detail.as_deref(), Some("12 ms behind"));
        assert_eq!(shown.pool, Some(Pool::new(1, 3, 8).waiting(2)));
    }

    #[test]
    fn what_the_newest_probe_saw_comes_before_the_lag() {
        let shown = node(&NodeStatus {
            state: "down",
            failure: Some("refused".into()),
            ..status()
        });
        assert_eq!(shown.state, NodeState::Down);
        assert_eq!(shown.detail.as_deref(), Some("refused"));
    }
}
