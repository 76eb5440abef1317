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

use super::credentials::{Credentials, refuses};
use super::error::{Detail, verdict};
use super::instruments::Instruments;
use super::monitor::{Monitor, Snapshot};
use super::opener::LoginError;
use super::pool::{Lease, Node};
use super::pooled::Opening;
use super::retention::Retention;
use super::route::{Destination, Route};
use super::settings::ReaderFallback;
use super::slow::SlowStatements;
use super::sqlstate::{self, Consequence, Stage};
use super::topology::NodeId;

/// How replicas are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads {
    /// How long a read under a token waits for a replica.
    pub(crate) rw_wait: Duration,
    pub(crate) fallback: ReaderFallback,
}

impl Reads {
    pub(crate) fn waits_for_replicas(&self) -> bool {
        self.fallback == ReaderFallback::None
    }
}

/// The shared part. The handle that the user holds stops the monitor when its last copy is dropped.
pub(crate) struct Client {
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) instruments: Instruments,
    pub(crate) slow: SlowStatements,
    pub(crate) timeout: Duration,
    /// How transactions begin.
    pub(crate) opening: Opening,
    pub(crate) reads: Reads,
    pub(crate) retention: Retention,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    closed: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        monitor: Arc<Monitor>,
        credentials: Arc<Credentials>,
        instruments: Instruments,
        slow: SlowStatements,
        timeout: Duration,
        opening: Opening,
        reads: Reads,
        retention: Retention,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            monitor,
            credentials,
            instruments,
            slow,
            timeout,
            opening,
            reads,
            retention,
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

    /// A connection for `destination` by `deadline`, a read preferably not to one of `avoided`. Every error is *not
    /// run*.
    ///
    /// Cancel-safe.
    pub(crate) async fn acquire(
        &self,
        destination: Destination,
        avoided: &[NodeId],
        deadline: Deadline,
    ) -> Result<Lease, sqlx::Error> {
        let begun = Instant::now();
        let route = Route {
            destination,
            avoided,
            fallback: self.reads.fallback,
        };
        if let Destination::ReaderAfter(token) = &route.destination {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            if let Some(lease) = self.replica_after(token, &route, deadline, begun).await? {
                return Ok(lease);
            }
        }
        let mut snapshots = self.monitor.watch();
        let mut refused: Option<LoginError> = None;
        loop {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            let Some(node) = self.route(&route, &mut snapshots, deadline, begun).await? else {
                continue;
            };
            tokio::select! {
                biased;
                got = node.pool.get() => match got {
                    Ok(object) => {
                        let lease = Lease::new(object, node.clone());
                        // The node may have been deposed at the same time; then the lease is given back.
                        if route.admits(&snapshots.borrow(), node.id) {
                            node.opener.occupancy.waited(begun.elapsed());
                            return Ok(lease);
                        }
                    }
                    Err(PoolError::Backend(error)) => {
                        self.login_failed(&node, &error)?;
                        refused = Some(error);
                        // Bounded by the deadline below; the pause keeps a full server from being hammered.
                        let pause = Duration::from_millis(5 + fastrand::u64(0..=15));
                        tokio::time::sleep(pause.min(deadline.remaining())).await;
                    }
                    Err(_) => return Err(Detail::Closed.into()),
                },
                () = moved(&mut snapshots, &route, node.id) => {}
                () = tokio::time::sleep_until(deadline.instant()) => {}
            }
            if deadline.is_past() {
                node.opener.occupancy.timed_out();
                return Err(pool_timeout(&node, begun, refused.as_ref()).into());
            }
        }
    }

    /// The node that `destination` leads to, without a connection.
    ///
    /// Cancel-safe.
    pub(crate) async fn settle_on(
        &self,
        destination: Destination,
        deadline: Deadline,
    ) -> Result<Arc<Node>, sqlx::Error> {
        let begun = Instant::now();
        let route = Route {
            destination,
            avoided: &[],
            fallback: self.reads.fallback,
        };
        let mut snapshots = self.monitor.watch();
        loop {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            if let Some(node) = self.route(&route, &mut snapshots, deadline, begun).await? {
                return Ok(node);
            }
        }
    }

    /// The node to go to now; `None` when it went away while it was chosen.
    async fn route(
        &self,
        route: &Route<'_>,
        snapshots: &mut watch::Receiver<Snapshot>,
        deadline: Deadline,
        begun: Instant,
    ) -> Result<Option<Arc<Node>>, sqlx::Error> {
        let wait = snapshots.wait_for(|snapshot| route.choices(snapshot).next().is_some());
        match deadline.bound("a primary", wait).await {
            Ok(Ok(snapshot)) => Ok(self.least_used(route.choices(&snapshot))),
            Ok(Err(_)) => Err(Detail::Closed.into()),
            Err(_) => Err(self.no_node(route, begun)),
        }
    }

    pub(super) fn no_node(&self, route: &Route<'_>, begun: Instant) -> sqlx::Error {
        Detail::NoNode {
            wanted: route.wanted(),
            waited: begun.elapsed(),
            reason: self.monitor.explain(),
        }
        .into()
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
    pub(super) fn login_failed(&self, node: &Node, error: &LoginError) -> Result<(), sqlx::Error> {
        if let sqlx::Error::Database(database) = &*error.0 {
            let state = database.code().unwrap_or_default();
            // What is open serves on: who waits gets one of those, while the credentials are looked after.
            if refuses(&error.0) && node.pool.status().size > 0 {
                return Ok(());
            }
            if sqlstate::refuses_login(&state) {
                let keys = match refuses(&error.0) {
                    true => format!(" (credentials of {})", self.credentials.keys()),
                    false => String::new(),
                };
                return Err(Detail::LoginRefused {
                    node: node.label.clone(),
                    state: state.into_owned(),
                    message: format!("{}{keys}", database.message()),
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

/// Returns when `node` is no longer a choice.
async fn moved(snapshots: &mut watch::Receiver<Snapshot>, route: &Route<'_>, node: NodeId) {
    let gone = |snapshot: &Snapshot| !route.admits(snapshot, node);
    // The sender lives in the monitor, which the caller holds.
    let _ = snapshots.wait_for(gone).await;
}

fn pool_timeout(node: &Node, begun: Instant, refused: Option<&LoginError>) -> Detail {
    let status = node.pool.status();
    Detail::PoolTimeout {
        node: node.label.clone(),
        waited: begun.elapsed(),
        size: status.size,
        max: status.max_size,
        waiting: status.waiting,
        login: refused.map_or_else(String::new, |error| format!("; last {error}")),
    }
}
