//! Logging in. Openers are tasks of their own that outlive the callers that wait for them, so that a caller who gives
//! up does not waste a login: the connection becomes a spare and the next caller gets it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::credentials::{Pair, Seal, refuses};
use super::error::verdict;
use super::occupancy::Occupancy;
use super::pool::IDLE;
use super::probe::Door;
use super::reads::Replayed;
use super::sqlstate::Stage;
use super::tenure::{Pass, Tenure};

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
    _counted: Counted,
}

/// Counts an open connection for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a login failed. Shared, because all who wait get the same answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("login failed: {0}")]
pub(crate) struct LoginError(pub(crate) Arc<sqlx::Error>);

impl LoginError {
    /// Whether the server has no room for another connection: 53300, 53400.
    fn is_full(&self) -> bool {
        verdict(&self.0, Stage::Statement).is_full()
    }

    /// The error of sqlx; of one that others hold too, what it says.
    fn into_inner(self) -> sqlx::Error {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| std::io::Error::other(shared.to_string()).into())
    }
}

/// Tries of one login: with what was in use, with what the keeper found, and with what came meanwhile.
const TRIES: usize = 3;

/// Opens connections to one node.
pub(crate) struct Opener {
    door: Arc<Door>,
    budget: Duration,
    tenure: Arc<Tenure>,
    pub(crate) occupancy: Occupancy,
    tracker: TaskTracker,
    /// Connections the node may have, spares included.
    max: usize,
    open: Arc<AtomicUsize>,
    /// Whether anyone waits; changed under the lock of the queue.
    wanted: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Result<Connection, LoginError>>>,
    spare: Vec<Spare>,
    opening: usize,
    /// The server said that it has no room for more connections.
    full: Option<Full>,
    /// Why the last login failed, if none worked since.
    failed: Option<LoginError>,
}

/// How long a full server is left alone. The pool makes do with the connections that are open: who waits for a login
/// gets one that another gives back.
struct Full {
    until: Instant,
    pause: Duration,
}

/// The first pause before a full server is asked again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Full {
    fn after(former: Option<&Self>) -> Self {
        let pause = former.map_or(PAUSES.0, |full| (full.pause * 2).min(PAUSES.1));
        let jitter = pause.mul_f64(fastrand::f64() / 2.0);
        Self {
            until: Instant::now() + pause + jitter,
            pause,
        }
    }
}

impl Queue {
    /// Removes those who gave up; whether anyone is left.
    fn is_wanted(&mut self) -> bool {
        self.waiting.retain(|waiting| !waiting.is_closed());
        !self.waiting.is_empty()
    }

    /// How many logins may be in flight.
    fn most(&self) -> usize {
        if self.full.is_some() { 1 } else { IN_FLIGHT }
    }
}

/// Whom an opener was started for. After the pause of a full server a login for callers who gave up is not worth it; one
/// for spares is how it is found out that there is room again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Callers,
    Spares,
}

/// A connection that nobody has asked for yet.
struct Spare {
    connection: Connection,
    since: Instant,
}

impl Spare {
    /// Whether it may be given out.
    fn serves(&self, tenure: &Tenure, now: Instant) -> bool {
        tenure.admits(&self.connection.pass) && now.saturating_duration_since(self.since) <= IDLE
    }
}

impl Opener {
    pub(crate) fn new(
        door: Arc<Door>,
        budget: Duration,
        tenure: Arc<Tenure>,
        occupancy: Occupancy,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            door,
            budget,
            tenure,
            occupancy,
            tracker,
            max: usize::MAX,
            open: Arc::default(),
            wanted: AtomicBool::new(false),
            queue: Mutex::default(),
        }
    }

    /// Keeps no more than `max` connections, those in use included.
    pub(crate) fn bounded(self, max: usize) -> Self {
        Self { max, ..self }
    }

    /// A spare or new connection.
    ///
    /// Cancel-safe: a login that was begun for a caller who gave up serves the next one.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<Connection, LoginError> {
        let receiver = {
            let mut queue = self.queue();
            let now = Instant::now();
            while let Some(spare) = queue.spare.pop() {
                if spare.serves(&self.tenure, now) {
                    return Ok(spare.connection);
                }
            }
            let full = queue
                .full
                .as_ref()
                .is_some_and(|full| Instant::now() < full.until);
            if let Some(error) = queue
                .failed
                .as_ref()
                .filter(|_| full && self.open_connections() == 0)
            {
                return Err(error.clone());
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiting.retain(|waiting| !waiting.is_closed());
            queue.waiting.push_back(sender);
            self.wanted.store(true, Ordering::Relaxed);
            if queue.opening < queue.waiting.len().min(queue.most()) {
                queue.opening += 1;
                self.tracker.spawn(self.clone().serve(Purpose::Callers));
            }
            receiver
        };
        match receiver.await {
            Ok(result) => result,
            Err(_) => Err(LoginError(Arc::new(sqlx::Error::WorkerCrashed))),
        }
    }

    /// How a login is made now, by those who make it themselves.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.door.credentials.sign(&self.door.options)
    }

    /// What `login`, which logs in once, makes of a connection of its own, outside the pool: when nobody else looks for
    /// credentials that work, and once more with those that were found when it is refused.
    ///
    /// Cancel-safe, if `login` is.
    pub(crate) async fn log_in_by<T, F>(
        &self,
        login: impl Fn(PgConnectOptions) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let (options, seal) = self.admitted().await?;
        match login(options).await {
            Err(error) if refuses(&error) => {
                let error = Arc::new(error);
                self.door.credentials.refused(self.door.node, &seal, &error);
                let (options, _) = self.admitted().await?;
                login(options).await
            }
            done => done,
        }
    }

    async fn admitted(&self) -> Result<(PgConnectOptions, Seal), sqlx::Error> {
        let Door {
            credentials,
            node,
            options,
            ..
        } = &*self.door;
        let admission = credentials.admission(*node, options).await;
        admission.map_err(LoginError::into_inner)
    }

    /// A connection of its own, outside the pool, with `options` changed by `change`.
    pub(crate) async fn open_apart(
        &self,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<PgConnection, sqlx::Error> {
        let login = |options| {
            let options = change(options);
            async move { self.door.address.connect(&options, self.budget).await }
        };
        self.log_in_by(login).await
    }

    /// Whether the node lets `pair` in. The connection is closed again.
    pub(crate) async fn try_login(&self, pair: &Pair) -> Result<(), sqlx::Error> {
        self.connect(&pair.sign(&self.door.options)).await.map(drop)
    }

    /// Opens one connection without a caller; it serves whoever wants one next.
    pub(crate) async fn open_ahead(&self) -> Result<(), LoginError> {
        let connection = self.log_in(self.tenure.pass()).await?;
        self.hand_over(connection);
        Ok(())
    }

    /// Opens connections without a caller until there are `count` spares, as many as may be in flight, or as many as the
    /// node may have.
    pub(crate) fn warm(self: &Arc<Self>, count: usize) {
        self.sweep();
        let mut queue = self.queue();
        while queue.spare.len() + queue.opening < count.min(queue.most())
            && self.open_connections() + queue.opening < self.max
        {
            queue.opening += 1;
            self.tracker.spawn(self.clone().serve(Purpose::Spares));
        }
    }

    /// Closes the spares that may not be given out any more.
    pub(crate) fn sweep(&self) {
        let stale: Vec<_> = {
            let now = Instant::now();
            let mut queue = self.queue();
            let spares = std::mem::take(&mut queue.spare);
            let (good, stale) = spares
                .into_iter()
                .partition(|spare| spare.serves(&self.tenure, now));
            queue.spare = good;
            stale
        };
        drop(stale);
    }

    /// Whether someone waits for a connection.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Gives a connection that is as new to whoever waits.
    pub(crate) fn hand_over(&self, connection: Connection) {
        let mut queue = self.queue();
        // It takes the place of one that was open already, or of one that closes when it is given back.
        self.deliver(&mut queue, connection, usize::MAX);
    }

    /// Connections that are open, in use or not.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Why the last login failed, if none worked since.
    pub(crate) fn last_failure(&self) -> Option<LoginError> {
        self.queue().failed.clone()
    }

    pub(crate) fn spares(&self) -> usize {
        self.queue().spare.len()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One opener: logs in for as long as someone waits.
    async fn serve(self: Arc<Self>, purpose: Purpose) {
        loop {
            // Spread, so that the logins after a failover do not hit the server in the same instant.
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..2000))).await;
            let full = self.queue().full.as_ref().map(|full| full.until);
            if let Some(until) = full {
                tokio::time::sleep_until(until).await;
                let mut queue = self.queue();
                if !queue.is_wanted() && purpose == Purpose::Callers {
                    self.wanted.store(false, Ordering::Relaxed);
                    queue.opening -= 1;
                    return;
                }
            }
            let pass = self.tenure.pass();
            let result = self.log_in(pass.clone()).await;
            let mut queue = self.queue();
            queue.waiting.retain(|waiting| !waiting.is_closed());
            match result {
                // The server behind it is gone already: once more.
                Ok(connection) if !self.tenure.admits(&connection.pass) => continue,
                Ok(connection) => {
                    (queue.full, queue.failed) = (None, None);
                    self.deliver(&mut queue, connection, self.max);
                }
                // Cut meanwhile, because its name moved for instance: to where it is now.
                Err(_) if !self.tenure.admits(&pass) && !queue.waiting.is_empty() => continue,
                Err(error) => {
                    let full = error.is_full().then(|| Full::after(queue.full.as_ref()));
                    (queue.full, queue.failed) = (full, Some(error.clone()));
                    for waiting in queue.waiting.drain(..) {
                        // A caller who gave up needs no answer.
                        let _ = waiting.send(Err(error.clone()));
                    }
                }
            }
            let wanted = queue.is_wanted();
            self.wanted.store(wanted, Ordering::Relaxed);
            if queue.waiting.len() < queue.opening {
                queue.opening -= 1;
                return;
            }
        }
    }

    /// Gives the connection to who waits for one, else keeps it as a spare unless more than `most` are open.
    fn deliver(&self, queue: &mut Queue, connection: Connection, most: usize) {
        let mut connection = connection;
        while let Some(waiting) = queue.waiting.pop_front() {
            match waiting.send(Ok(connection)) {
                Ok(()) => return,
                Err(Ok(returned)) => connection = returned,
                Err(Err(_)) => return,
            }
        }
        self.wanted.store(false, Ordering::Relaxed);
        if self.open_connections() <= most {
            let since = Instant::now();
            queue.spare.push(Spare { connection, since });
        }
    }

    async fn log_in(&self, pass: Pass) -> Result<Connection, LoginError> {
        let begun = Instant::now();
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
            _counted: Counted::new(&self.open),
        })
    }

    /// One login with the credentials in use.
    async fn try_sealed(&self) -> Result<(PgConnection, Seal), LoginError> {
        let (options, seal) = self
            .door
            .credentials
            .admission(self.door.node, &self.door.options)
            .await?;
        match self.connect(&options).await {
            Ok(link) => {
                self.door.credentials.accepted(self.door.node, &seal);
                Ok((link, seal))
            }
            Err(error) => {
                let error = Arc::new(error);
                if refuses(&error) {
                    self.door.credentials.refused(self.door.node, &seal, &error);
                }
                Err(LoginError(error))
            }
        }
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        self.door.address.connect(options, self.budget).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hafnium_core::metrics::Metrics;
    use hafnium_core::secret::Secret;
    use hafnium_testkit::postgres::PostgresCluster;

    use super::*;
    use crate::postgres::PostgresSettings;
    use crate::postgres::address::Address;
    use crate::postgres::credentials::Credentials;
    use crate::postgres::resolver::Resolver;
    use crate::postgres::topology::NodeId;
    use crate::postgres::url::Host;

    const MAX: usize = 2;

    fn opener(cluster: &PostgresCluster) -> Arc<Opener> {
        let url = cluster.node_url(0, "postgres");
        let options = url.parse().unwrap();
        let settings = PostgresSettings::new(Secret::new(url));
        let credentials = Credentials::new("postgres.test", &settings, &Metrics::noop(), "test").unwrap();
        let occupancy = Occupancy::new(&Metrics::noop(), "test", "node", MAX);
        let budget = Duration::from_secs(30);
        let tracker = TaskTracker::new();
        let host = Host {
            name: "127.0.0.1".into(),
            port: cluster.port(0),
        };
        let resolver = Arc::new(Resolver::new(Vec::new(), tracker.clone()));
        let door = Door {
            node: NodeId(0),
            options,
            credentials: Arc::new(credentials),
            address: Arc::new(Address::new(&host, &resolver)),
        };
        let opener = Opener::new(Arc::new(door), budget, Arc::default(), occupancy, tracker);
        Arc::new(opener.bounded(MAX))
    }

    async fn finish(opener: &Opener) {
        opener.tracker.close();
        opener.tracker.wait().await;
    }

    #[tokio::test]
    async fn spares_are_no_more_than_the_node_may_have_and_none_is_given_out_that_is_old() {
        let cluster = PostgresCluster::single().await.unwrap();
        let warmed = opener(&cluster);
        warmed.warm(MAX + 3);
        finish(&warmed).await;
        assert_eq!(warmed.spares(), MAX);
        {
            let queue = warmed.queue();
            let (spare, tenure) = (&queue.spare[0], &warmed.tenure);
            assert!(spare.serves(tenure, spare.since + IDLE));
            assert!(!spare.serves(tenure, spare.since + IDLE + Duration::from_millis(1)));
            tenure.renew();
            assert!(!spare.serves(tenure, spare.since));
        }

        let given_up = opener(&cluster);
        let mut callers: Vec<_> = (0..MAX + 3).map(|_| Box::pin(given_up.open())).collect();
        for caller in &mut callers {
            assert!(caller.now_or_never().is_none());
        }
        drop(callers);
        finish(&given_up).await;
        assert_eq!(given_up.spares(), MAX);
    }
}
