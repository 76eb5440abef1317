//! What all handles and views of one database share, and how an operation gets its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::PoolError;
use hafnium_core::Deadline;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{Detail, verdict};
use super::instruments::Instruments;
use super::monitor::{Monitor, Snapshot};
use super::opener::LoginError;
use super::pool::{Lease, Node};
use super::sqlstate::{self, Consequence, Stage};
use super::topology::NodeId;

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Destination {
    /// The primary.
    #[default]
    Writer,
    /// A replica that is near enough, else the primary.
    Reader,
}

/// The shared part. The handle that the user holds stops the monitor when its last copy is dropped.
pub(crate) struct Client {
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) instruments: Instruments,
    pub(crate) timeout: Duration,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    closed: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        monitor: Arc<Monitor>,
        instruments: Instruments,
        timeout: Duration,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            monitor,
            instruments,
            timeout,
            tracker,
            stop: CancellationToken::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A connection for `destination` by `deadline`, to one of the `avoided` nodes only if there is no other. Every error
    /// is *not run*.
    ///
    /// Cancel-safe.
    pub(crate) async fn acquire(
        &self,
        destination: Destination,
        avoided: &[NodeId],
        deadline: Deadline,
    ) -> Result<Lease, sqlx::Error> {
        let begun = Instant::now();
        let aim = Aim { destination, avoided };
        let mut snapshots = self.monitor.watch();
        loop {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            let Some(node) = self.route(aim, &mut snapshots, deadline, begun).await? else {
                continue;
            };
            tokio::select! {
                biased;
                got = node.pool.get() => match got {
                    Ok(object) => {
                        let lease = Lease::new(object, node.clone());
                        // The node may have been deposed at the same time; then the lease is given back.
                        if is_choice(&snapshots.borrow(), aim, node.id) {
                            return Ok(lease);
                        }
                    }
                    Err(PoolError::Backend(error)) => {
                        self.login_failed(&node, &error)?;
                        // Bounded by the deadline below; the pause keeps a full server from being hammered.
                        let pause = Duration::from_millis(5 + fastrand::u64(0..=15));
                        tokio::time::sleep(pause.min(deadline.remaining())).await;
                    }
                    Err(_) => return Err(Detail::Closed.into()),
                },
                () = moved(&mut snapshots, aim, node.id) => {}
                () = tokio::time::sleep_until(deadline.instant()) => {}
            }
            if deadline.is_past() {
                return Err(pool_timeout(&node, begun).into());
            }
        }
    }

    /// The node to go to now; `None` when it went away while it was chosen.
    async fn route(
        &self,
        aim: Aim<'_>,
        snapshots: &mut watch::Receiver<Snapshot>,
        deadline: Deadline,
        begun: Instant,
    ) -> Result<Option<Arc<Node>>, sqlx::Error> {
        let wait = snapshots.wait_for(|snapshot| choices(snapshot, aim).next().is_some());
        let chosen = match deadline.bound("a primary", wait).await {
            Ok(Ok(snapshot)) => self.least_used(choices(&snapshot, aim)),
            Ok(Err(_)) => return Err(Detail::Closed.into()),
            Err(_) => {
                let wanted = match aim.destination {
                    Destination::Writer => "writable primary",
                    Destination::Reader => "node to read from",
                };
                return Err(Detail::NoNode {
                    wanted,
                    waited: begun.elapsed(),
                    reason: self.monitor.explain(),
                }
                .into());
            }
        };
        Ok(chosen)
    }

    fn least_used(&self, choices: impl Iterator<Item = NodeId>) -> Option<Arc<Node>> {
        choices
            .filter_map(|id| self.monitor.node(id))
            .min_by_key(|node| node.users())
            .cloned()
    }

    /// Draws the conclusions from a failed login.
    ///
    /// # Errors
    /// When another try can't succeed.
    fn login_failed(&self, node: &Node, error: &LoginError) -> Result<(), sqlx::Error> {
        if let sqlx::Error::Database(database) = &*error.0 {
            let state = database.code().unwrap_or_default();
            if sqlstate::refuses_login(&state) {
                return Err(Detail::LoginRefused {
                    node: node.label.clone(),
                    state: state.into_owned(),
                    message: database.message().to_owned(),
                }
                .into());
            }
        }
        if verdict(&error.0, Stage::Statement).consequence == Consequence::Suspect {
            self.monitor.suspect(node.id);
        }
        Ok(())
    }
}

/// What an operation looks for: a node for its destination, one that is not avoided if there is one.
#[derive(Clone, Copy)]
struct Aim<'a> {
    destination: Destination,
    avoided: &'a [NodeId],
}

/// The nodes an operation may go to: replicas, else the primary, else replicas that it had better avoid.
fn choices<'a>(snapshot: &'a Snapshot, aim: Aim<'a>) -> impl Iterator<Item = NodeId> + 'a {
    let readers: &[NodeId] = match aim.destination {
        Destination::Writer => &[],
        Destination::Reader => &snapshot.readers,
    };
    let avoids = |node: &NodeId| aim.avoided.contains(node);
    let all_avoided = readers.iter().all(avoids);
    let writer = snapshot.writer.ok().filter(|_| all_avoided);
    let without_writer = writer.is_none() && all_avoided;
    readers
        .iter()
        .copied()
        .filter(move |node| without_writer || !avoids(node))
        .chain(writer)
}

fn is_choice(snapshot: &Snapshot, aim: Aim<'_>, node: NodeId) -> bool {
    choices(snapshot, aim).any(|choice| choice == node)
}

/// Returns when `node` is no longer a choice.
async fn moved(snapshots: &mut watch::Receiver<Snapshot>, aim: Aim<'_>, node: NodeId) {
    let gone = |snapshot: &Snapshot| !is_choice(snapshot, aim, node);
    // The sender lives in the monitor, which the caller holds.
    let _ = snapshots.wait_for(gone).await;
}

fn pool_timeout(node: &Node, begun: Instant) -> Detail {
    let status = node.pool.status();
    Detail::PoolTimeout {
        node: node.label.clone(),
        waited: begun.elapsed(),
        size: node.opener.open_connections(),
        max: status.max_size,
        idle: node.idle(),
        waiting: status.waiting,
        longest: node.checkouts.longest(),
        login: node.opener.last_failure().map(|error| error.0.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::topology::NoWriter;

    const fn aim(destination: Destination) -> Aim<'static> {
        Aim {
            destination,
            avoided: &[],
        }
    }

    fn chosen(snapshot: &Snapshot, destination: Destination) -> Vec<usize> {
        choices(snapshot, aim(destination)).map(|id| id.0).collect()
    }

    #[test]
    fn what_is_avoided_comes_after_other_replicas_and_the_primary() {
        let mut snapshot = Snapshot {
            writer: Ok(NodeId(0)),
            readers: vec![NodeId(1), NodeId(2)],
        };
        let readers = |snapshot: &Snapshot, avoided: &[NodeId]| {
            let destination = Destination::Reader;
            let aim = Aim { destination, avoided };
            choices(snapshot, aim).map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(readers(&snapshot, &[NodeId(1)]), [2]);
        assert_eq!(readers(&snapshot, &[NodeId(1), NodeId(2)]), [0]);
        assert_eq!(readers(&snapshot, &[NodeId(0), NodeId(1), NodeId(2)]), [0]);
        snapshot.writer = Err(NoWriter::NoPrimary);
        assert_eq!(readers(&snapshot, &[NodeId(1), NodeId(2)]), [1, 2]);
    }

    #[test]
    fn readers_go_to_replicas_and_to_the_primary_only_without_one() {
        let mut snapshot = Snapshot {
            writer: Ok(NodeId(0)),
            readers: vec![NodeId(1), NodeId(2)],
        };
        assert_eq!(chosen(&snapshot, Destination::Reader), [1, 2]);
        assert_eq!(chosen(&snapshot, Destination::Writer), [0]);
        snapshot.readers.clear();
        assert_eq!(chosen(&snapshot, Destination::Reader), [0]);
        snapshot.writer = Err(NoWriter::NoPrimary);
        assert!(chosen(&snapshot, Destination::Reader).is_empty());
    }

    #[test]
    fn a_node_that_was_deposed_meanwhile_is_no_choice_for_what_it_was_taken_for() {
        let deposed = Snapshot {
            writer: Ok(NodeId(1)),
            readers: vec![NodeId(0)],
        };
        assert!(!is_choice(&deposed, aim(Destination::Writer), NodeId(0)));
        assert!(is_choice(&deposed, aim(Destination::Reader), NodeId(0)));
        assert!(is_choice(&deposed, aim(Destination::Writer), NodeId(1)));
        let nobody = Snapshot {
            writer: Err(NoWriter::NoPrimary),
            readers: vec![],
        };
        for destination in [Destination::Writer, Destination::Reader] {
            assert!(!is_choice(&nobody, aim(destination), NodeId(0)));
        }
    }
}
