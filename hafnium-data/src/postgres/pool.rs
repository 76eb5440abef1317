//! One pool per node, and the lease on one of its connections.
//!
//! Invariant: a connection goes back to its pool only after the operation on it ended and its reply was read to the
//! end. Everything else (a dropped future, a panic, a lost connection, a cut) closes the socket without a word: a
//! ping or a graceful close to a silent peer would hold the pool's permit for ever (transact-rs/sqlx #4349).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult};
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::checkouts::{Checkout, Checkouts};
use super::line::Patience;
use super::opener::{Connection, LoginError, Opener};
use super::reads::Replayed;
use super::round_trips::RoundTrips;
use super::tenure::{Cut, Tenure};
use super::topology::NodeId;

/// A connection that was idle for longer is replaced: what lies between may have forgotten it without a word (AWS
/// network load balancers do after 350 s), and the socket's keepalive can't be set through sqlx.
pub(crate) const IDLE: Duration = Duration::from_secs(300);

/// Makes and checks connections for the pool. Creating takes what an opener has ready and waits for nothing: who has to
/// wait does so in line, see [`Node::checkout`].
pub(crate) struct Manager {
    opener: Arc<Opener>,
    tenure: Arc<Tenure>,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = NoneReady;

    async fn create(&self) -> Result<Connection, NoneReady> {
        self.opener.ready().ok_or(NoneReady)
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<NoneReady> {
        if !self.tenure.admits(&connection.pass) {
            Err(RecycleError::message("of a former tenure"))
        } else if metrics.last_used() > IDLE {
            Err(RecycleError::message("idle for long"))
        } else {
            Ok(())
        }
    }
}

/// There is no connection without a login.
pub(crate) struct NoneReady;

/// Why there is no connection to a node.
pub(crate) enum Unavailable {
    Login(LoginError),
    Closed,
}

/// One node: its address, its tenure and its pool.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) label: String,
    pub(crate) tenure: Arc<Tenure>,
    pub(crate) opener: Arc<Opener>,
    pub(crate) pool: managed::Pool<Manager>,
    pub(crate) checkouts: Arc<Checkouts>,
    pub(crate) round_trips: RoundTrips,
    /// When the server last ended a connection that was in use (57P01).
    ended: Mutex<Option<Instant>>,
}

/// Connections of a node that are ended within this of each other are the end of the node, not the work of an operator
/// who ends one session.
const TOGETHER: Duration = Duration::from_secs(1);

impl Node {
    /// # Errors
    /// When the pool can't be built, which only a missing runtime for time-outs can cause; none are set.
    pub(crate) fn new(
        id: NodeId,
        label: String,
        opener: Opener,
        tenure: Arc<Tenure>,
        max: usize,
    ) -> Result<Self, managed::BuildError> {
        let opener = Arc::new(opener);
        let manager = Manager {
            opener: opener.clone(),
            tenure: tenure.clone(),
        };
        let pool = managed::Pool::builder(manager).max_size(max).build()?;
        Ok(Self {
            id,
            label,
            tenure,
            opener,
            pool,
            checkouts: Checkouts::new(max),
            round_trips: RoundTrips::default(),
            ended: Mutex::default(),
        })
    }

    /// A connection, for an operation with this much patience. However many wait, and whatever for, those are served in
    /// the order of the [line](super::line).
    ///
    /// Cancel-safe.
    pub(crate) async fn checkout(self: &Arc<Self>, patience: Patience) -> Result<Lease, Unavailable> {
        let turn = self.checkouts.turn(patience).await;
        let checkout = turn.ok_or(Unavailable::Closed)?;
        loop {
            match self.pool.get().await {
                Ok(object) => return Ok(Lease::new(object, self.clone(), checkout)),
                Err(PoolError::Backend(NoneReady)) => {}
                Err(_) => return Err(Unavailable::Closed),
            }
            let opened = self.opener.open(patience).await;
            self.opener.keep(opened.map_err(Unavailable::Login)?);
        }
    }

    /// No connection is given out any more.
    pub(crate) fn close(&self) {
        self.checkouts.close();
        self.pool.close();
    }

    /// The server ended a connection that was in use. Whether it did so to another shortly before, too.
    pub(crate) fn ended_together(&self) -> bool {
        let now = Instant::now();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let last = ended.replace(now);
        last.is_some_and(|last| now.saturating_duration_since(last) <= TOGETHER)
    }

    /// Ends every operation in flight, with `reason` in its error, and closes every connection.
    pub(crate) fn cut(&self, reason: &'static str) {
        self.tenure.cut(reason);
        self.sweep();
    }

    /// Closes the idle connections; operations in flight end by themselves and their connections are not reused.
    pub(crate) fn drain(&self) {
        self.tenure.renew();
        self.sweep();
    }

    /// Closes the idle connections that may not be given out again.
    pub(crate) fn sweep(&self) {
        let stale = self
            .pool
            .retain(|connection, _| self.tenure.admits(&connection.pass));
        drop(stale);
        self.opener.sweep();
    }

    /// Operations that hold a connection or wait for one.
    pub(crate) fn users(&self) -> usize {
        self.in_use() + self.waiting()
    }

    /// Operations that wait for a connection, in line or for a login.
    pub(crate) fn waiting(&self) -> usize {
        self.checkouts.waiting() + self.opener.waiting()
    }

    /// Connections that are open and free.
    pub(crate) fn idle(&self) -> usize {
        self.pool.status().available + self.opener.spares()
    }

    /// Connections taken out of the pool at present.
    pub(crate) fn in_use(&self) -> usize {
        let status = self.pool.status();
        status.size.saturating_sub(status.available)
    }
}

/// One connection, taken from the pool of its node until it is dropped.
pub(crate) struct Lease {
    /// Taken by `drop` alone.
    object: Option<Object<Manager>>,
    node: Arc<Node>,
    /// Given back after the connection, so that whoever is next finds it.
    _checkout: Checkout,
    /// Something was sent whose reply was not read to the end.
    busy: bool,
}

impl Lease {
    fn new(object: Object<Manager>, node: Arc<Node>, checkout: Checkout) -> Self {
        Self {
            object: Some(object),
            node,
            _checkout: checkout,
            busy: false,
        }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// What ends operations on this connection.
    pub(crate) fn cut(&self) -> Cut {
        self.peek().pass.cut().clone()
    }

    /// The connection, to look at.
    pub(crate) fn peek(&self) -> &Connection {
        match &self.object {
            Some(object) => object,
            None => unreachable!("only dropping a lease takes its connection"),
        }
    }

    /// The connection, for an operation that begins now. Until [`Lease::settle`] the lease is busy.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.busy = true;
        match &mut self.object {
            Some(object) => object,
            None => unreachable!("only dropping a lease takes its connection"),
        }
    }

    /// Keeps what the server said of itself as a replica; its answer to the next caller can only be the same or more.
    pub(crate) fn remember(&mut self, replayed: Option<Replayed>) {
        if let Some(object) = &mut self.object {
            object.replayed = replayed;
        }
    }

    /// The connection for an operation that begins now, and what ends it. Until [`Lease::settle`] the lease is
    /// busy.
    pub(crate) fn begin(&mut self) -> (&mut PgConnection, &Cut) {
        let Connection { link, pass, .. } = self.connection();
        (link, pass.cut())
    }

    /// The operation ended and the connection can serve the next one.
    pub(crate) fn settle(&mut self) {
        self.busy = false;
    }

    /// Whether it would be closed now.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The connection will not serve anyone else.
    pub(crate) fn spoil(&mut self) {
        self.busy = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if self.busy || !self.node.tenure.admits(&object.pass) {
            drop(Object::take(object));
        } else if self.node.opener.is_wanted() {
            // Whoever waits for a login, which a full server refuses, takes this one.
            self.node.opener.hand_over(Object::take(object));
        }
    }
}
