//! A connection that was logged in, and the spare ones that nobody has asked for yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::super::pool::IDLE;
use super::super::reads::Replayed;
use super::super::tenure::{Pass, Tenure};

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

impl Connection {
    /// A new one, counted in `open`.
    pub(super) fn new(link: PgConnection, pass: Pass, open: &Arc<AtomicUsize>) -> Self {
        Self {
            link,
            pass,
            nests: false,
            replayed: None,
            _counted: Counted::new(open),
        }
    }
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

/// A connection that nobody has asked for yet.
pub(super) struct Spare {
    pub(super) connection: Connection,
    pub(super) since: Instant,
}

impl Spare {
    /// Whether it may be given out.
    pub(super) fn serves(&self, tenure: &Tenure, now: Instant) -> bool {
        tenure.admits(&self.connection.pass) && now.saturating_duration_since(self.since) <= IDLE
    }
}
