//! Behind a pooler in transaction mode: pgbouncer before 1.21, or one without `max_prepared_statements`.
//!
//! Such a pooler lends a connection of the server for one transaction. sqlx sends Parse and Sync, waits, and then Bind
//! and Sync: on its own that is two transactions, and between them the connection may change hands, so that one client
//! gets the answer of another (measured with pgbouncer 1.18). So a statement that travels as Parse and Bind runs
//! inside BEGIN and COMMIT of ours. What travels as one message (text without arguments) needs none.
//!
//! What a session would keep is said at each BEGIN:
//! * `DEALLOCATE ALL`, because another client may have left a statement under a name that sqlx is about to use;
//! * the limits of the server, as `SET LOCAL`: poolers refuse them as start-up options, or drop them.

use futures_util::future::BoxFuture;
use hafnium_core::{Deadline, Outcome};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::commit::{begin, roll_back};
use super::error::{Detail, detail, verdict};
use super::operation::guarded;
use super::pool::Lease;
use super::sqlstate::{Consequence, Stage};
use super::statement::Statement;
use super::token::PendingToken;
use super::transaction::lost_before_commit;
use super::view::{ReadOnly, View};

/// How transactions of a client begin.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    read_write: SqlStr,
    read_only: SqlStr,
    pooled: bool,
}

impl Opening {
    /// For connections that are ours alone.
    pub(crate) fn plain() -> Self {
        Self {
            read_write: "BEGIN".into_sql_str(),
            read_only: "BEGIN READ ONLY".into_sql_str(),
            pooled: false,
        }
    }

    /// For connections of a pooler. `limits` are settings of the server in milliseconds; `0` leaves a setting to the
    /// server.
    pub(crate) fn pooled(limits: &[(&str, String)]) -> Self {
        let mut rest = "; DEALLOCATE ALL".to_owned();
        for (name, value) in limits.iter().filter(|(_, value)| value != "0") {
            rest.push_str(&format!("; SET LOCAL {name} = {value}"));
        }
        let script = |begin: &str| AssertSqlSafe(format!("{begin}{rest}")).into_sql_str();
        Self {
            read_write: script("BEGIN"),
            read_only: script("BEGIN READ ONLY"),
            pooled: true,
        }
    }

    pub(crate) fn sql(&self, read_only: ReadOnly) -> SqlStr {
        match read_only {
            ReadOnly::No => self.read_write.clone(),
            ReadOnly::Yes => self.read_only.clone(),
        }
    }

    /// Whether `statement` must run inside a transaction to be answered by the server that it was sent to.
    pub(crate) fn encloses(&self, statement: &Statement) -> bool {
        self.pooled && statement.is_prepared()
    }

    /// # Errors
    /// When `what` can't be had, because it needs a session of the server.
    pub(crate) fn session(&self, what: &'static str) -> Result<(), Detail> {
        if self.pooled {
            Err(Detail::NeedsSession { what })
        } else {
            Ok(())
        }
    }
}

impl View {
    /// Runs one statement inside BEGIN and COMMIT; the outcome of COMMIT is its outcome. Settles the lease.
    pub(crate) async fn enclosed<T>(
        &self,
        lease: &mut Lease,
        deadline: Deadline,
        statement: Statement,
        operation: impl for<'a> FnOnce(&'a mut PgConnection, Statement) -> BoxFuture<'a, Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let (node, cut) = (lease.node().clone(), lease.cut());
        let opening = &self.client.opening;
        let run = async {
            begin(lease, opening, ReadOnly::No).await?;
            operation(&mut lease.connection().link, statement.unnamed()).await
        };
        let waited_for = "the reply to a statement";
        let result = guarded(&cut, &node.label, deadline, waited_for, Outcome::RolledBack, run).await;
        match result {
            Ok(value) => self
                .commit(lease, deadline, &PendingToken::default())
                .await
                .map(|()| value),
            Err(error) => {
                match self.verdict(&error, false).consequence {
                    Consequence::Keep => {
                        let _closed_instead = roll_back(lease, deadline).await;
                    }
                    gone => self.client.blame(&node, gone),
                }
                Err(undone(&node.label, error))
            }
        }
    }
}

/// `error` of a statement whose COMMIT was never sent. What would be unknown of it elsewhere is certain here: it was
/// undone. Poolers say that they lost the server by an error of their own (08P01).
fn undone(node: &str, error: sqlx::Error) -> sqlx::Error {
    let verdict = verdict(&error, Stage::Statement);
    if verdict.outcome == Outcome::Unknown && detail(&error).is_none() {
        lost_before_commit(node, error.to_string())
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_transaction_begins_without_leftovers_and_under_its_limits() {
        let limits = [
            ("statement_timeout", "6000".to_owned()),
            ("idle_in_transaction_session_timeout", "0".to_owned()),
        ];
        let opening = Opening::pooled(&limits);
        assert_eq!(
            opening.sql(ReadOnly::No).as_str(),
            "BEGIN; DEALLOCATE ALL; SET LOCAL statement_timeout = 6000"
        );
        let read_only = opening.sql(ReadOnly::Yes);
        assert!(read_only.as_str().starts_with("BEGIN READ ONLY; DEALLOCATE ALL"));
    }

    #[test]
    fn what_travels_as_one_message_is_not_enclosed() {
        let opening = Opening::pooled(&[]);
        let taken = |sql: &'static str| Statement::take(sql).unwrap();
        assert!(!opening.encloses(&taken("VACUUM")));
        assert!(!opening.encloses(&taken("SELECT 1; SELECT 2")));
        assert!(opening.encloses(&Statement::take(sqlx::query("SELECT 1")).unwrap()));
        assert!(opening.encloses(&Statement::to_prepare("SELECT 1".into_sql_str()).unwrap()));
        let plain = Opening::plain();
        assert!(!plain.encloses(&Statement::take(sqlx::query("SELECT 1")).unwrap()));
    }
}
