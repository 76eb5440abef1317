//! What all handles and views of one database share, and how an operation gets its connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::Deadline;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credentials::{Credentials, refuses};
use super::error::{Detail, verdict};
use super::instruments::Instruments;
use super::line::Patience;
use super::monitor::{Monitor, Snapshot};
use super::opener::LoginError;
use super::pool::{Lease, Node, Unavailable};
use super::pooled::Opening;
use super::reads::Reads;
use super::retention::Retention;
use super::route::{Destination, Route};
use super::session::Balance;
use super::slow::SlowStatements;
use super::sqlstate::{self, Consequence, Stage};
use super::topology::NodeId;

/// The nodes of a database, and where operations go among them.
pub(crate) struct Nodes {
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) reads: Reads,
    /// Where operations go that say nothing of it.
    pub(crate) sought: Destination,
    pub(crate) balance: Balance,
}

/// The shared part. The monitor stops when the last handle, view or dedicated connection is dropped.
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
    /// Where operations go that say nothing of it.
    pub(crate) sought: Destination,
    balance: Balance,
    closed: AtomicBool,
    /// Cancelled when `closed` is set.
    closing: CancellationToken,
}

impl Client {
    pub(crate) fn new(
        nodes: Nodes,
        instruments: Instruments,
        slow: SlowStatements,
        timeout: Duration,
        opening: Opening,
        retention: Retention,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            monitor: nodes.monitor,
            credentials: nodes.credentials,
            instruments,
            slow,
            timeout,
            opening,
            reads: nodes.reads,
            retention,
            tracker,
            stop: CancellationToken::new(),
            sought: nodes.sought,
            balance: nodes.balance,
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.cancel();
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
        let alarm = pin!(tokio::time::sleep_until(deadline.instant()));
        // Boxed, or every transaction grows by what waiting takes.
        Box::pin(self.acquire_by(destination, avoided, deadline, alarm)).await
    }

    /// As [`acquire`](Self::acquire), with the alarm of the deadline.
    pub(crate) async fn acquire_by(
        &self,
        destination: Destination,
        avoided: &[NodeId],
        deadline: Deadline,
        mut alarm: Pin<&mut Sleep>,
    ) -> Result<Lease, sqlx::Error> {
        let begun = Instant::now();
        let patience = Patience {
            begun,
            due: deadline.instant(),
        };
        let route = self.way_to(destination, avoided);
        if let Destination::ReaderAfter(token) = &route.destination {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            if let Some(lease) = self.replica_after(token, &route, deadline, begun).await? {
                return Ok(lease);
            }
        }
        loop {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            let node = match self.choose(&route) {
                Some(node) => node,
                None => match self
                    .route(&route, &mut self.monitor.watch(), deadline, begun)
                    .await?
                {
                    Some(node) => node,
                    None => continue,
                },
            };
            // What comes after the connection is not even registered when one is free.
            tokio::select! {
                biased;
                got = node.checkout(patience) => match got {
                    Ok(lease) => {
                        // The node may have been deposed at the same time; then the lease is given back.
                        if route.admits(&self.monitor.snapshot(), node.id) {
                            let waited = begun.elapsed();
                            in_time(&node, waited, deadline.remaining())?;
                            node.opener.occupancy.waited(waited);
                            return Ok(lease);
                        }
                    }
                    Err(Unavailable::Login(error)) => {
                        self.login_failed(&node, &error)?;
                        // Bounded by the deadline below; the pause keeps a full server from being hammered.
                        let pause = Duration::from_millis(5 + fastrand::u64(0..=15));
                        tokio::time::sleep(pause.min(deadline.remaining())).await;
                    }
                    Err(Unavailable::Closed) => return Err(Detail::Closed.into()),
                },
                () = self.moved(&route, node.id) => {}
                () = alarm.as_mut() => {}
            }
            if deadline.is_past() {
                node.opener.occupancy.timed_out();
                return Err(pool_timeout(&node, begun).into());
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
        let route = self.way_to(destination, &[]);
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

    fn way_to<'a>(&self, destination: Destination, avoided: &'a [NodeId]) -> Route<'a> {
        Route {
            destination,
            avoided,
            fallback: self.reads.fallback,
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
        match self.unless_closed(deadline.bound("a primary", wait)).await? {
            Ok(Ok(snapshot)) => Ok(self.balanced(route.choices(&snapshot))),
            Ok(Err(_)) => Err(Detail::Closed.into()),
            Err(_) => Err(self.no_node(route, begun)),
        }
    }

    /// What `wait` comes to, unless no operation may begin any more before that.
    pub(super) async fn unless_closed<T>(&self, wait: impl Future<Output = T>) -> Result<T, sqlx::Error> {
        tokio::select! {
            biased;
            done = wait => Ok(done),
            () = self.closing.cancelled() => Err(Detail::Closed.into()),
        }
    }

    /// The node to go to, if there is one now.
    fn choose(&self, route: &Route<'_>) -> Option<Arc<Node>> {
        self.balanced(route.choices(&self.monitor.snapshot()))
    }

    /// Returns when `node` is no longer a choice.
    async fn moved(&self, route: &Route<'_>, node: NodeId) {
        let gone = |snapshot: &Snapshot| !route.admits(snapshot, node);
        // The sender lives in the monitor, which this holds.
        let _ = self.monitor.watch().wait_for(gone).await;
    }

    pub(super) fn no_node(&self, route: &Route<'_>, begun: Instant) -> sqlx::Error {
        Detail::NoNode {
            wanted: route.wanted(),
            waited: begun.elapsed(),
            reason: self.monitor.explain(),
        }
        .into()
    }

    /// One of `choices`, by what `load_balance_hosts` says.
    fn balanced(&self, choices: impl Iterator<Item = NodeId>) -> Option<Arc<Node>> {
        let mut nodes = choices.filter_map(|id| self.monitor.node(id));
        let first = nodes.next()?;
        // Counting takes the lock of the pool: only where there is a choice.
        let Some(second) = nodes.next() else {
            return Some(first.clone());
        };
        let mut nodes: Vec<_> = [first, second].into_iter().chain(nodes).collect();
        self.monitor.zones.prefer_own(&mut nodes, |node| node.id);
        self.balance.choose(nodes, |node| node.users()).cloned()
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

/// Whether an operation that got its connection after `waited` is begun with what is `left` of its time.
///
/// # Errors
/// When it is not: the connection serves another.
fn in_time(node: &Node, waited: Duration, left: Duration) -> Result<(), Detail> {
    let needed = node.round_trips.needed(waited + left);
    if left >= needed {
        return Ok(());
    }
    node.opener.occupancy.timed_out();
    Err(Detail::TooLate {
        node: node.label.clone(),
        waited,
        left,
        needed,
    })
}

fn pool_timeout(node: &Node, begun: Instant) -> Detail {
    let status = node.pool.status();
    Detail::PoolTimeout {
        node: node.label.clone(),
        waited: begun.elapsed(),
        size: node.opener.open_connections(),
        max: status.max_size,
        idle: node.idle(),
        waiting: node.waiting(),
        longest: node.checkouts.longest(),
        login: node.opener.last_failure().map(|error| error.0.to_string()),
    }
}
