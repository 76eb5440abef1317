//! Statements that took long: a line in the log for each, without any value, and the plan where that is asked for.

mod plan;
mod text;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgQueryResult, PgRow, PgStatement};
use sqlx::{Describe, Postgres as Db};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::plan::Plans;
use super::pool::Node;
use super::settings::PostgresSettings;
use super::statement::Text;

/// Watches for slow statements of one database.
pub(crate) struct SlowStatements {
    database: String,
    limit: Option<Duration>,
    plans: Option<Plans>,
}

/// Where the time of an operation went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// From the call to the result.
    pub(crate) all: Duration,
    /// On the server and on the way there, in the last try.
    pub(crate) ran: Duration,
}

impl SlowStatements {
    pub(crate) fn new(component: &str, settings: &PostgresSettings, tracker: &TaskTracker) -> Self {
        let limit = settings.slow_statement.get();
        Self {
            database: component.to_owned(),
            limit: (!limit.is_zero()).then_some(limit),
            // Through a pooler in transaction mode a prepared statement is not found again.
            plans: (settings.slow_statement_plan && settings.prepared_statements)
                .then(|| Plans::new(tracker.clone())),
        }
    }

    /// Whether an operation of that length is to be told of.
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        self.limit.is_some_and(|limit| took >= limit)
    }

    /// Tells of a statement that ran on `node`, if it got that far.
    pub(crate) fn tell(&self, statement: &Text, node: Option<&Arc<Node>>, took: Took, rows: Option<u64>) {
        let text = text::without_values(statement.as_str());
        tracing::warn!(
            database = self.database,
            node = node.map(|node| node.label.as_str()),
            statement = text,
            took_ms = milliseconds(took.all),
            waited_ms = milliseconds(took.all.saturating_sub(took.ran)),
            ran_ms = milliseconds(took.ran),
            rows,
            "slow statement"
        );
        if let (Some(plans), Some(node)) = (&self.plans, node) {
            plans.explain(&self.database, node, statement);
        }
    }

    /// Tells of a transaction as a whole: the waits, the statements, and what the closure did between them.
    pub(crate) fn tell_transaction(&self, took: Duration) {
        if self.is_slow(took) {
            let took_ms = milliseconds(took);
            tracing::warn!(database = self.database, took_ms, "slow transaction");
        }
    }
}

/// A statement that runs on a connection which its caller has already. Dropped, it is told of if it was slow: so is one
/// that was given up.
pub(crate) struct Watch<'a> {
    slow: &'a SlowStatements,
    node: Arc<Node>,
    text: Text,
    begun: Instant,
    rows: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(slow: &'a SlowStatements, node: Arc<Node>, text: Text) -> Self {
        Self {
            slow,
            node,
            text,
            begun: Instant::now(),
            rows: None,
        }
    }

    /// The reply was read to its end, about that many rows as far as is known.
    pub(crate) fn ended(mut self, rows: Option<u64>) {
        self.rows = rows;
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let ran = self.begun.elapsed();
        if self.slow.is_slow(ran) {
            let took = Took { all: ran, ran };
            self.slow.tell(&self.text, Some(&self.node), took, self.rows);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A result that may know how many rows it is about.
pub(crate) trait Rows {
    /// Rows that came or were changed.
    fn rows(&self) -> Option<u64> {
        None
    }
}

impl Rows for PgQueryResult {
    fn rows(&self) -> Option<u64> {
        Some(self.rows_affected())
    }
}

impl Rows for Vec<PgRow> {
    fn rows(&self) -> Option<u64> {
        u64::try_from(self.len()).ok()
    }
}

impl Rows for Option<PgRow> {
    fn rows(&self) -> Option<u64> {
        Some(u64::from(self.is_some()))
    }
}

impl Rows for PgStatement {}

impl Rows for Describe<Db> {}

/// A stream, whose rows went to its reader.
impl Rows for () {}
