//! The plan that the server would make for a statement, whatever its parameters are. Asked on a connection of its own;
//! nothing is executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::super::pool::Node;
use super::super::statement::Text;
use super::text;

/// Between two plans of a database: each takes a login.
const EVERY: Duration = Duration::from_secs(10);
/// For the login and the answers.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks for plans, one at a time and not often.
pub(super) struct Plans {
    tracker: TaskTracker,
    since: Instant,
    /// Milliseconds since then at which the next one may be asked for.
    next: Arc<AtomicU64>,
}

impl Plans {
    pub(super) fn new(tracker: TaskTracker) -> Self {
        Self {
            tracker,
            since: Instant::now(),
            next: Arc::default(),
        }
    }

    /// Has the plan of `statement` told, unless one was asked for a moment ago.
    pub(super) fn explain(&self, database: &str, node: &Arc<Node>, statement: &Text) {
        // A statement that was given up may be dropped anywhere.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !statement.has_plan() || !self.is_due() {
            return;
        }
        let (database, node) = (database.to_owned(), node.clone());
        let sql = statement.as_str().trim_end().trim_end_matches(';').to_owned();
        let asking = async move {
            let shown = text::without_values(&sql);
            match tokio::time::timeout(LIMIT, ask(&node, &sql)).await {
                Ok(Ok(lines)) => {
                    let plan = lines.join("\n");
                    let node = node.label.as_str();
                    tracing::warn!(
                        database,
                        node,
                        statement = shown,
                        plan,
                        "plan of a slow statement"
                    );
                }
                // What the server says may hold a value of the text.
                Ok(Err(error)) => {
                    let code = super::super::error::classify(&error);
                    let code = hafnium_core::Classify::code(&code);
                    tracing::debug!(database, statement = shown, code, "no plan of a slow statement");
                }
                Err(_) => tracing::debug!(database, "no plan of a slow statement within {LIMIT:?}"),
            }
        };
        self.tracker.spawn_on(asking, &runtime);
    }

    fn is_due(&self) -> bool {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let after = now.saturating_add(u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX));
        now >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// `EXPLAIN (GENERIC_PLAN)` came with PostgreSQL 16; a prepared statement under `force_generic_plan` is the same before.
async fn ask(node: &Node, sql: &str) -> Result<Vec<String>, sqlx::Error> {
    let careful = [
        ("plan_cache_mode", "force_generic_plan"),
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "2000"),
    ];
    let mut link = node.opener.open_apart(|options| options.options(careful)).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE hafnium_slow AS {sql}")))
        .execute(&mut link)
        .await?;
    let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'hafnium_slow'";
    let count: i32 = sqlx::query_scalar(count).fetch_one(&mut link).await?;
    let nulls = vec!["NULL"; usize::try_from(count).unwrap_or_default()].join(", ");
    let call = match nulls.is_empty() {
        true => "EXPLAIN EXECUTE hafnium_slow".to_owned(),
        false => format!("EXPLAIN EXECUTE hafnium_slow({nulls})"),
    };
    let rows = sqlx::raw_sql(AssertSqlSafe(call)).fetch_all(&mut link).await?;
    rows.iter()
        .map(|row| Ok(text::plan_line(&row.try_get::<String, _>(0)?)))
        .collect()
}
