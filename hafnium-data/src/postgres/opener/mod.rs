//! Logging in. Openers are tasks of their own that outlive the callers that wait for them, so that a caller who gives
//! up does not waste a login: the connection becomes a spare and the next caller gets it.

mod connection;
mod limit;
mod login;
mod queue;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::connection::Connection;
use self::connection::Spare;
pub(crate) use self::login::LoginError;
use self::queue::{Purpose, Queue};
use super::line::Patience;
use super::occupancy::Occupancy;
use super::probe::Door;
use super::tenure::Tenure;

/// How much later a login begins while there are connections: one that is given back serves sooner than a login, which
/// takes its time of the processors from the first statements after a failover.
const HEAD_START: Duration = Duration::from_millis(5);

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

    /// Whether the node was found at `address` last.
    pub(crate) fn is_at(&self, address: IpAddr, port: u16) -> bool {
        self.door.address.is_at(address, port)
    }

    /// A spare connection, if there is one.
    pub(crate) fn ready(&self) -> Option<Connection> {
        self.take_spare(&mut self.queue())
    }

    /// A spare or new connection.
    ///
    /// Cancel-safe: a login that was begun for a caller who gave up serves the next one.
    pub(crate) async fn open(self: &Arc<Self>, patience: Patience) -> Result<Connection, LoginError> {
        let (receiver, place) = {
            let mut queue = self.queue();
            if let Some(spare) = self.take_spare(&mut queue) {
                return Ok(spare);
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
            let place = queue.waiting.join(patience, sender);
            self.wanted.store(true, Ordering::Relaxed);
            self.staff(&mut queue);
            (receiver, place)
        };
        let place = Place { place, of: self };
        let answer = receiver.await;
        // Whoever was answered is out of the line already.
        std::mem::forget(place);
        answer.unwrap_or_else(|_| Err(LoginError::from(sqlx::Error::WorkerCrashed)))
    }

    /// Opens one connection without a caller; it serves whoever wants one next.
    pub(crate) async fn open_ahead(&self) -> Result<(), LoginError> {
        let connection = self.log_in(self.tenure.pass()).await?;
        self.hand_over(connection);
        Ok(())
    }

    /// Takes over the connection with which the probe found the node at a new address, and opens as many others as the
    /// node may have. To be called after the tenure of the old address ended.
    pub(crate) fn move_in(self: &Arc<Self>) {
        let found = self
            .door
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let sealed = found.and_then(|(link, seal)| Some((link, seal.pooled()?)));
        if let Some((link, seal)) = sealed {
            let pass = self.tenure.pass().sealed(seal);
            self.hand_over(Connection::new(link, pass, &self.open));
        }
        self.warm(self.max);
    }

    /// Opens connections without a caller until there are `count` spares, or as many as the node may have.
    pub(crate) fn warm(self: &Arc<Self>, count: usize) {
        self.sweep();
        let mut queue = self.queue();
        let missing = count.saturating_sub(queue.spare.len() + queue.opening);
        queue.ahead = queue.ahead.max(missing);
        self.staff(&mut queue);
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

    /// Keeps a connection for the caller that it was opened for, who asks for it next.
    pub(crate) fn keep(&self, connection: Connection) {
        let since = Instant::now();
        self.queue().spare.push(Spare { connection, since });
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

    /// How many wait for a login, or for what another gives back.
    pub(crate) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_spare(&self, queue: &mut Queue) -> Option<Connection> {
        let now = Instant::now();
        while let Some(spare) = queue.spare.pop() {
            if spare.serves(&self.tenure, now) {
                return Some(spare.connection);
            }
        }
        None
    }

    /// Starts as many openers as are wanted and may be.
    fn staff(self: &Arc<Self>, queue: &mut Queue) {
        while let Some(purpose) = queue.begin(self.max.saturating_sub(self.open_connections())) {
            self.tracker.spawn(self.clone().serve(purpose));
        }
    }

    /// One opener: one login.
    async fn serve(self: Arc<Self>, purpose: Purpose) {
        // Spread, so that the logins after a failover do not hit the server in the same instant.
        let mut pause = Duration::from_micros(fastrand::u64(0..2000));
        if self.open_connections() > 0 {
            pause += HEAD_START;
        }
        tokio::time::sleep(pause).await;
        if purpose == Purpose::Callers && pause >= HEAD_START {
            let mut queue = self.queue();
            if queue.waiting.is_empty() {
                queue.end();
                return self.staff(&mut queue);
            }
        }
        let full = self.queue().full.as_ref().map(|full| full.until);
        if let Some(until) = full {
            tokio::time::sleep_until(until).await;
            let mut queue = self.queue();
            if queue.waiting.is_empty() && purpose == Purpose::Callers {
                return queue.end();
            }
        }
        let pass = self.tenure.pass();
        let result = self.log_in(pass.clone()).await;
        let mut queue = self.queue();
        match result {
            // The server behind it is gone already: once more.
            Ok(connection) if !self.tenure.admits(&connection.pass) => {
                queue.ahead += usize::from(purpose == Purpose::Spares);
            }
            Ok(connection) => {
                queue.succeed();
                self.deliver(&mut queue, connection, self.max);
            }
            // Cut meanwhile, because its name moved for instance: to where it is now.
            Err(_) if !self.tenure.admits(&pass) && !queue.waiting.is_empty() => {}
            Err(error) => {
                for waiting in queue.fail(&error) {
                    // A caller who gave up needs no answer.
                    let _ = waiting.send(Err(error.clone()));
                }
                self.wanted.store(!queue.waiting.is_empty(), Ordering::Relaxed);
            }
        }
        queue.end();
        self.staff(&mut queue);
    }

    /// Gives the connection to who waits for one, else keeps it as a spare unless more than `most` are open.
    fn deliver(&self, queue: &mut Queue, connection: Connection, most: usize) {
        let mut connection = connection;
        let now = Instant::now();
        while let Some(waiting) = queue.waiting.next(now) {
            match waiting.send(Ok(connection)) {
                Ok(()) => {
                    self.wanted.store(!queue.waiting.is_empty(), Ordering::Relaxed);
                    return;
                }
                Err(Ok(returned)) => connection = returned,
                Err(Err(_)) => return,
            }
        }
        self.wanted.store(false, Ordering::Relaxed);
        if self.open_connections() <= most {
            queue.spare.push(Spare {
                connection,
                since: now,
            });
        }
    }
}

/// A place among those who wait, left when it is dropped.
struct Place<'a> {
    place: u64,
    of: &'a Opener,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.of.queue();
        queue.waiting.leave(self.place);
        self.of.wanted.store(!queue.waiting.is_empty(), Ordering::Relaxed);
    }
}
