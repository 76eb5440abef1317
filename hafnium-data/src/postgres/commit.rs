//! BEGIN, COMMIT and ROLLBACK of a transaction of ours.

use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::{Deadline, Outcome};
use sqlx::{AssertSqlSafe, Either, Executor as _, SqlSafeStr as _};

use super::error::{Detail, detail, verdict};
use super::nesting;
use super::operation::{guarded, uncut};
use super::pool::Lease;
use super::pooled::Opening;
use super::sqlstate::{Consequence, Stage};
use super::token::{PendingToken, Token};
use super::view::{ReadOnly, View};

/// In a transaction of which a statement had failed, the first part fails with 25P02. COMMIT alone would be answered
/// ROLLBACK as a success, which sqlx does not tell from a commit (measured).
const COMMIT: &str = "SELECT 1; COMMIT";

/// How long a ROLLBACK may take before the connection is closed instead, which has the same effect.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(1);

impl View {
    /// Commits, and makes sure that what is returned tells the outcome by itself. A `token` that was asked for is
    /// filled by the same message.
    pub(super) async fn commit(
        &self,
        lease: &mut Lease,
        deadline: Deadline,
        token: &PendingToken,
    ) -> Result<(), sqlx::Error> {
        let (node, cut) = (lease.node().clone(), lease.cut());
        uncut(&cut, &node.label, Outcome::RolledBack)?;
        unbroken(lease)?;
        let request = match token.is_asked() {
            true => AssertSqlSafe(format!("{COMMIT}; {}", Token::QUESTION)).into_sql_str(),
            false => COMMIT.into_sql_str(),
        };
        let mut completed = 0;
        let commit = async {
            let mut steps = lease.connection().link.fetch_many(request);
            while let Some(step) = steps.next().await {
                match step? {
                    Either::Left(_) => completed += 1,
                    Either::Right(row) if completed == 2 => token.fill(Token::read(&row)),
                    Either::Right(_) => {}
                }
            }
            Ok(())
        };
        let sent = self.sent();
        let result = guarded(
            &cut,
            &node.label,
            deadline,
            "the reply to COMMIT",
            Outcome::Unknown,
            commit,
        )
        .await;
        if let Some(sent) = sent {
            sent.answered();
        }
        let error = match result {
            Ok(()) => {
                lease.settle();
                return Ok(());
            }
            // COMMIT was answered, and the token alone is missing. What a node that is deposed meanwhile said does not
            // count.
            Err(error) if completed >= 2 && !matches!(detail(&error), Some(Detail::Cut { .. })) => {
                return Ok(());
            }
            Err(error) => error,
        };
        // The first part was answered by an error, so that COMMIT itself was not reached.
        let stage = if completed > 0 {
            Stage::Commit
        } else {
            Stage::Statement
        };
        let verdict = verdict(&error, stage);
        match (verdict.consequence, stage) {
            // A failed COMMIT ended the transaction; before it, the transaction is still open.
            (Consequence::Keep, Stage::Commit) => lease.settle(),
            (Consequence::Keep, Stage::Statement) => {
                let _closed_instead = roll_back(lease, deadline).await;
            }
            (gone, _) => self.client.blame(&node, gone),
        }
        if verdict.code == "postgres.25P02" {
            return Err(Detail::Aborted.into());
        }
        if verdict.outcome == Outcome::Unknown && detail(&error).is_none() {
            return Err(Detail::CommitUnknown {
                node: node.label.clone(),
                reason: format!("{} ({})", error, verdict.code),
            }
            .into());
        }
        Err(error)
    }
}

pub(super) async fn begin(
    lease: &mut Lease,
    opening: &Opening,
    read_only: ReadOnly,
) -> Result<(), sqlx::Error> {
    nesting::begin(lease.connection(), opening.sql(read_only)).await
}

/// # Errors
/// [`Detail::Aborted`] after a savepoint that failed; the connection serves nobody any more.
fn unbroken(lease: &mut Lease) -> Result<(), sqlx::Error> {
    nesting::check(&lease.peek().link).map_err(|aborted| {
        lease.spoil();
        aborted.into()
    })
}

/// Rolls back by `deadline` and within a short limit. If that does not work the lease stays busy, so that the
/// connection is closed. An error that is no [`Detail`] says that the connection was lost.
pub(super) async fn roll_back(lease: &mut Lease, deadline: Deadline) -> Result<(), sqlx::Error> {
    unbroken(lease)?;
    let (cut, node) = (lease.cut(), lease.node().clone());
    let limit = deadline.min(Deadline::after(ROLLBACK_LIMIT));
    let rollback = async { lease.connection().link.execute("ROLLBACK").await };
    guarded(
        &cut,
        &node.label,
        limit,
        "the reply to ROLLBACK",
        Outcome::RolledBack,
        rollback,
    )
    .await?;
    lease.settle();
    Ok(())
}
