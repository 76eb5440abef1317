//! Logging in. Openers are tasks of their own that outlive the callers that wait for them, so that a caller who gives
//! up does not waste a login: the connection becomes a spare and the next caller gets it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::credentials::{Credentials, Pair, Seal, refuses};
use super::occupancy::Occupancy;
use super::reads::Replayed;
use super::tenure::{Pass, Tenure};
use super::topology::NodeId;

/// Logins in flight per node. More would be a storm on a server that has just been promoted.
const IN_FLIGHT: usize = 8;

/// A logged-in connection. Dropping it closes the socket without a word to the server, which rolls back.
pub(crate) struct Connection {
    pub(crate) link: PgConnection,
    pub(crate) pass: Pass,
    /// Whether sqlx counts one transaction as open for good, see the module `transaction`.
    pub(crate) nests: bool,
    /// How far its server said it is when it was last asked, as a replica.
    pub(crate) replayed: Option<Replayed>,
}

/// Why a login failed. Shared, because all who wait get the same answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("login failed: {0}")]
pub(crate) struct LoginError(pub(crate) Arc<sqlx::Error>);

impl LoginError {
    /// The error of sqlx; of one that others hold too, what it says.
    fn into_inner(self) -> sqlx::Error {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| std::io::Error::other(shared.to_string()).into())
    }
}

/// Tries of one login: with what was in use, with what the keeper found, and with what came meanwhile.
const TRIES: usize = 3;

/// Opens connections to one node.
pub(crate) struct Opener {
    node: NodeId,
    /// Without user and password.
    options: PgConnectOptions,
    credentials: Arc<Credentials>,
    budget: Duration,
    tenure: Arc<Tenure>,
    pub(crate) occupancy: Occupancy,
    tracker: TaskTracker,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Result<Connection, LoginError>>>,
    spare: Vec<Connection>,
    opening: usize,
}

impl Opener {
    pub(crate) fn new(
        node: NodeId,
        options: PgConnectOptions,
        credentials: Arc<Credentials>,
        budget: Duration,
        tenure: Arc<Tenure>,
        occupancy: Occupancy,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            node,
            options,
            credentials,
            budget,
            tenure,
            occupancy,
            tracker,
            queue: Mutex::default(),
        }
    }

    /// A spare or new connection.
    ///
    /// Cancel-safe: a login that was begun for a caller who gave up serves the next one.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<Connection, LoginError> {
        let receiver = {
            let mut queue = self.queue();
            while let Some(spare) = queue.spare.pop() {
                if self.tenure.admits(&spare.pass) {
                    return Ok(spare);
                }
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiting.retain(|waiting| !waiting.is_closed());
            queue.waiting.push_back(sender);
            if queue.opening < queue.waiting.len().min(IN_FLIGHT) {
                queue.opening += 1;
                self.tracker.spawn(self.clone().serve());
            }
            receiver
        };
        match receiver.await {
            Ok(result) => result,
            Err(_) => Err(LoginError(Arc::new(sqlx::Error::WorkerCrashed))),
        }
    }

    /// How a login is made now.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.credentials.sign(&self.options)
    }

    /// A connection of its own, outside the pool, with `options` changed by `change`.
    pub(crate) async fn open_apart(
        &self,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<PgConnection, sqlx::Error> {
        let admission = self.credentials.admission(self.node, &self.options).await;
        let (options, seal) = admission.map_err(LoginError::into_inner)?;
        match change(options).connect().await {
            Err(error) if refuses(&error) => {
                let error = Arc::new(error);
                self.credentials.refused(self.node, &seal, &error);
                let admission = self.credentials.admission(self.node, &self.options).await;
                let (options, _) = admission.map_err(LoginError::into_inner)?;
                change(options).connect().await
            }
            done => done,
        }
    }

    /// Whether the node lets `pair` in. The connection is closed again.
    pub(crate) async fn try_login(&self, pair: &Pair) -> Result<(), sqlx::Error> {
        self.connect(&pair.sign(&self.options)).await.map(drop)
    }

    /// Opens one connection without a caller; it serves whoever wants one next.
    pub(crate) async fn open_ahead(&self) -> Result<(), LoginError> {
        let connection = self.log_in().await?;
        Self::deliver(&mut self.queue(), connection);
        Ok(())
    }

    /// Opens connections without a caller until there are `count` spares, or as many as may be in flight.
    pub(crate) fn warm(self: &Arc<Self>, count: usize) {
        let mut queue = self.queue();
        queue.spare.retain(|spare| self.tenure.admits(&spare.pass));
        while queue.spare.len() + queue.opening < count.min(IN_FLIGHT) {
            queue.opening += 1;
            self.tracker.spawn(self.clone().serve());
        }
    }

    /// Closes the spares that the tenure admits no more.
    pub(crate) fn sweep(&self) {
        let stale: Vec<_> = {
            let mut queue = self.queue();
            let spares = std::mem::take(&mut queue.spare);
            let (good, stale) = spares
                .into_iter()
                .partition(|spare| self.tenure.admits(&spare.pass));
            queue.spare = good;
            stale
        };
        drop(stale);
    }

    pub(crate) fn spares(&self) -> usize {
        self.queue().spare.len()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One opener: logs in for as long as someone waits.
    async fn serve(self: Arc<Self>) {
        loop {
            // Spread, so that the logins after a failover do not hit the server in the same instant.
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..2000))).await;
            let result = self.log_in().await;
            let mut queue = self.queue();
            match result {
                // The server behind it is gone already: once more.
                Ok(connection) if !self.tenure.admits(&connection.pass) => continue,
                Ok(connection) => Self::deliver(&mut queue, connection),
                Err(error) => {
                    for waiting in queue.waiting.drain(..) {
                        // A caller who gave up needs no answer.
                        let _ = waiting.send(Err(error.clone()));
                    }
                }
            }
            queue.waiting.retain(|waiting| !waiting.is_closed());
            if queue.waiting.len() < queue.opening {
                queue.opening -= 1;
                return;
            }
        }
    }

    fn deliver(queue: &mut Queue, connection: Connection) {
        let mut connection = connection;
        while let Some(waiting) = queue.waiting.pop_front() {
            match waiting.send(Ok(connection)) {
                Ok(()) => return,
                Err(Ok(returned)) => connection = returned,
                Err(Err(_)) => return,
            }
        }
        queue.spare.push(connection);
    }

    async fn log_in(&self) -> Result<Connection, LoginError> {
        let begun = Instant::now();
        let pass = self.tenure.pass();
        let cut = pass.cut().clone();
        let login = async {
            let mut tried = 1;
            loop {
                match self.try_sealed().await {
                    // The next try waits until the keeper found out what works.
                    Err(error) if refuses(&error.0) && tried < TRIES => tried += 1,
                    result => return result,
                }
            }
        };
        let (link, seal) = tokio::select! {
            biased;
            () = cut.cancelled() => {
                Err(LoginError(Arc::new(std::io::Error::other("the node was cut").into())))
            }
            result = login => result,
        }?;
        self.occupancy.opened(begun.elapsed());
        Ok(Connection {
            link,
            pass: pass.sealed(seal),
            nests: false,
            replayed: None,
        })
    }

    /// One login with the credentials in use.
    async fn try_sealed(&self) -> Result<(PgConnection, Seal), LoginError> {
        let (options, seal) = self.credentials.admission(self.node, &self.options).await?;
        match self.connect(&options).await {
            Ok(link) => {
                self.credentials.accepted(self.node, &seal);
                Ok((link, seal))
            }
            Err(error) => {
                let error = Arc::new(error);
                if refuses(&error) {
                    self.credentials.refused(self.node, &seal, &error);
                }
                Err(LoginError(error))
            }
        }
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        let login = tokio::time::timeout(self.budget, options.connect());
        login.await.unwrap_or_else(|_| {
            let silent = format!("no answer to the login within {:?}", self.budget);
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, silent).into())
        })
    }
}
