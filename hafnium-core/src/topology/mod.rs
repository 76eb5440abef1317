//! What a service depends on, as its clients see it at this moment: nodes with their roles, and pools.
//!
//! A client registers how it is looked at. Nothing is kept here: each look asks the client's own memory, so that the
//! answer is what operations go by, and looking costs nothing while nobody does.

mod node;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub use node::{Node, NodeState, Pool};

type Look = dyn Fn() -> View + Send + Sync;

/// The dependencies of a service. Cheap to clone.
#[derive(Clone, Default)]
pub struct Topology {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    entries: Mutex<Vec<Arc<Entry>>>,
    next_id: AtomicU64,
}

struct Entry {
    id: u64,
    name: String,
    kind: &'static str,
    look: Box<Look>,
}

/// What a client sees of one dependency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct View {
    /// Its nodes, in an order that does not change from look to look.
    pub nodes: Vec<Node>,
    /// What is wrong with the dependency at present, without secrets; `None` when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One dependency at the moment of [`Topology::report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dependency {
    /// The component's name, such as `postgres.ledger`.
    pub name: String,
    /// What it is, such as `postgres`, `redis`, `kafka` or `http`.
    pub kind: &'static str,
    /// What its client sees.
    #[serde(flatten)]
    pub view: View,
}

impl View {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// With those nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.nodes.extend(nodes);
        self
    }

    /// Can't be used at present, for that reason.
    #[must_use]
    pub fn trouble(mut self, reason: impl Into<String>) -> Self {
        self.trouble = Some(reason.into());
        self
    }
}

impl Topology {
    /// No dependencies yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the dependency `name` (as its component is called, `postgres.ledger`) of that `kind`; `look` says what
    /// its client sees. Dropping the returned guard removes it.
    ///
    /// `look` answers from memory: it must neither block nor need a runtime, because the operator listener may have one
    /// of its own. It must not keep the client alive either; a [`Weak`](std::sync::Weak) does.
    pub fn register(
        &self,
        name: impl Into<String>,
        kind: &'static str,
        look: impl Fn() -> View + Send + Sync + 'static,
    ) -> Registration {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        self.entries().push(Arc::new(Entry {
            id,
            name: name.into(),
            kind,
            look: Box::new(look),
        }));
        Registration {
            topology: self.clone(),
            id,
        }
    }

    /// What every client sees now, in the order of registration.
    pub fn report(&self) -> Vec<Dependency> {
        // Looked at without the lock: a client may register or go meanwhile.
        let entries = self.entries().clone();
        let look = |entry: Arc<Entry>| Dependency {
            name: entry.name.clone(),
            kind: entry.kind,
            view: (entry.look)(),
        };
        entries.into_iter().map(look).collect()
    }

    /// Held for a few instructions only.
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a dependency registered; dropping it removes the dependency.
#[must_use]
pub struct Registration {
    topology: Topology,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed: Vec<_> = {
            let mut entries = self.topology.entries();
            entries.extract_if(.., |entry| entry.id == self.id).collect()
        };
        // What `look` holds may have a guard like this one: it goes after the lock.
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(topology: &Topology) -> Vec<String> {
        let report = topology.report();
        report.into_iter().map(|dependency| dependency.name).collect()
    }

    #[test]
    fn a_dependency_shows_what_its_client_sees_now_and_goes_with_its_guard() {
        let topology = Topology::new();
        let address = Arc::new(Mutex::new("a:5432"));
        let seen = address.clone();
        let ledger = topology.register("postgres.ledger", "postgres", move || {
            let node = Node::new(*seen.lock().unwrap()).role("primary");
            View::new().nodes([node])
        });
        let velocity = topology.register("redis.velocity", "redis", || View::new().trouble("no primary"));
        assert_eq!(names(&topology), ["postgres.ledger", "redis.velocity"]);
        assert_eq!(topology.report()[0].view.nodes[0].address, "a:5432");
        *address.lock().unwrap() = "b:5432";
        assert_eq!(topology.report()[0].view.nodes[0].address, "b:5432");
        drop(ledger);
        assert_eq!(names(&topology), ["redis.velocity"]);
        drop(velocity);
        assert!(names(&topology).is_empty());
    }

    #[test]
    fn a_look_may_itself_look_and_its_guard_may_go_within() {
        let topology = Topology::new();
        let inner = topology.register("inner", "http", View::new);
        let (mirror, held) = (topology.clone(), Mutex::new(Some(inner)));
        let outer = topology.register("outer", "http", move || {
            held.lock().unwrap().take();
            View::new().trouble(mirror.entries().len().to_string())
        });
        assert_eq!(topology.report()[1].view.trouble.as_deref(), Some("1"));
        drop(outer);
    }

    #[test]
    fn json_leaves_out_what_is_not_known() {
        let topology = Topology::new();
        let _guard = topology.register("postgres.ledger", "postgres", || {
            let node = Node::new("a:5432").role("primary").state(NodeState::Up);
            View::new().nodes([
                node.place("eu-west-1", "b").pool(Pool::new(1, 4, 8)),
                Node::new("b:5432"),
            ])
        });
        assert_eq!(
            serde_json::to_value(topology.report()).unwrap(),
            serde_json::json!([{
                "name": "postgres.ledger",
                "kind": "postgres",
                "nodes": [
                    {
                        "address": "a:5432", "role": "primary", "state": "up", "region": "eu-west-1", "zone": "b",
                        "pool": { "in_use": 1, "idle": 4, "max": 8, "waiting": 0 }
                    },
                    { "address": "b:5432", "role": "unknown", "state": "unknown" },
                ],
            }])
        );
    }
}
