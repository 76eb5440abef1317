//! What the service's topology shows of a store: the primary in use, and the sentinels with their last answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hafnium_core::topology::{Node, NodeState, Registration, Topology, View};
use tokio::sync::watch;

use super::link::Link;
use super::target::Flavour;

/// What each sentinel answered last, in the order of the URL.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    sentinels: Mutex<Vec<Sentinel>>,
}

#[derive(Debug, Clone)]
struct Sentinel {
    address: String,
    state: NodeState,
    failure: Option<String>,
    /// Asked in the present round and not heard yet.
    asked: bool,
}

impl Heard {
    /// Nothing of the sentinels of `flavour` yet.
    pub(crate) fn of(flavour: &Flavour) -> Self {
        let sentinels: &[(String, u16)] = match flavour {
            Flavour::Standalone(_) => &[],
            Flavour::Sentinel { sentinels, .. } => sentinels,
        };
        let unheard = |(host, port): &(String, u16)| Sentinel {
            address: format!("{host}:{port}"),
            state: NodeState::Unknown,
            failure: None,
            asked: false,
        };
        Self {
            sentinels: Mutex::new(sentinels.iter().map(unheard).collect()),
        }
    }

    /// All of them are asked.
    pub(crate) fn ask(&self) {
        self.lock().iter_mut().for_each(|sentinel| sentinel.asked = true);
    }

    /// The answer of one.
    pub(crate) fn note<T>(&self, index: usize, answer: &Result<T, String>) {
        if let Some(sentinel) = self.lock().get_mut(index) {
            sentinel.asked = false;
            sentinel.state = match answer {
                Ok(_) => NodeState::Up,
                Err(_) => NodeState::Down,
            };
            sentinel.failure = answer.as_ref().err().cloned();
        }
    }

    /// The round is over; who has not answered was slower than the others.
    pub(crate) fn settle(&self) {
        for sentinel in self.lock().iter_mut().filter(|sentinel| sentinel.asked) {
            sentinel.asked = false;
            sentinel.state = NodeState::Suspect;
            sentinel.failure = Some("slower than the others".into());
        }
    }

    fn nodes(&self) -> Vec<Node> {
        let shown = |sentinel: &Sentinel| {
            let node = Node::new(&sentinel.address)
                .role("sentinel")
                .state(sentinel.state);
            match &sentinel.failure {
                Some(failure) => node.detail(failure),
                None => node,
            }
        };
        self.lock().iter().map(shown).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sentinel>> {
        self.sentinels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows what `link` and `heard` hold.
pub(crate) fn register(
    component: &str,
    link: watch::Receiver<Link>,
    heard: Arc<Heard>,
    topology: &Topology,
) -> Registration {
    topology.register(component, "redis", move || view(&link.borrow(), &heard))
}

fn view(link: &Link, heard: &Heard) -> View {
    let primary = link.node.as_ref().map(|node| {
        let (state, shown) = match link.is_usable() {
            true => (NodeState::Up, Node::new(&node.address)),
            false => (
                NodeState::Suspect,
                Node::new(&node.address).detail("its connection broke"),
            ),
        };
        shown.role("primary").state(state)
    });
    let view = View::new();
    let view = match primary {
        Some(primary) => view.nodes([primary]),
        None => view.trouble(format!("no primary: {}", link.reason)),
    };
    view.nodes(heard.nodes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(heard: &Heard) -> Vec<(String, &'static str)> {
        let nodes = heard.nodes().into_iter();
        nodes.map(|node| (node.address, node.state.as_str())).collect()
    }

    #[test]
    fn each_sentinel_shows_its_last_answer_and_a_slow_one_is_suspect() {
        let heard = Heard::of(&Flavour::Sentinel {
            sentinels: vec![("a".into(), 1), ("b".into(), 2), ("c".into(), 3)],
            master: "m".into(),
        });
        assert!(states(&heard).iter().all(|(_, state)| *state == "unknown"));
        heard.ask();
        heard.note(0, &Ok(()));
        heard.note(1, &Err::<(), _>("refused".into()));
        heard.settle();
        let expected = [("a:1", "up"), ("b:2", "down"), ("c:3", "suspect")];
        assert_eq!(
            states(&heard),
            expected.map(|(address, state)| (address.to_owned(), state))
        );
    }

    #[test]
    fn without_a_primary_the_reason_shows() {
        let link = Link {
            reason: "sentinel a is silent".into(),
            ..Link::default()
        };
        let view = view(&link, &Heard::default());
        assert_eq!(view.trouble.as_deref(), Some("no primary: sentinel a is silent"));
        assert!(view.nodes.is_empty());
    }
}
