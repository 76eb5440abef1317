//! Transactions as a closure that is run again as a whole, where that is safe.
//!
//! The closure gets an **owned** [`Tx`]; dropping it hands the connection back through a slot, and then the library
//! commits. An owned value, because a closure over `&mut Tx` is not `Send` enough for an axum handler.
//!
//! We send COMMIT ourselves, see [`COMMIT`]; what that means to sqlx, which counts transactions, is in
//! [`nesting`](super::nesting).

use std::error::Error as StdError;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::{Deadline, Outcome};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Executor as _, Postgres as Db, SqlSafeStr as _, Transaction};

use super::attempts::Attempts;
use super::doubt::Doubt;
use super::error::{Detail, detail, find, is_unreadable, of_transaction, raw_loss, verdict, with_doubt};
use super::instruments::Running;
use super::nesting;
use super::operation::{forget_statements, guarded, uncut};
use super::pool::{Lease, Node};
use super::pooled::Opening;
use super::sqlstate::{Consequence, Stage, Verdict};
use super::token::{PendingToken, Token};
use super::topology::NodeId;
use super::view::{ReadOnly, View};

/// In a transaction of which a statement had failed, the first part fails with 25P02. COMMIT alone would be answered
/// ROLLBACK as a success, which sqlx does not tell from a commit (measured).
const COMMIT: &str = "SELECT 1; COMMIT";

/// How long a ROLLBACK may take before the connection is closed instead, which has the same effect.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(1);

type Slot = Arc<Mutex<Option<Lease>>>;

/// An open transaction, given to the closure of [`transaction`](super::Postgres::transaction).
///
/// Dereferences to [`PgConnection`]: `.execute(&mut *tx)`. The library begins and ends the transaction; dropping the
/// `Tx` only says that the closure is done with it. It must be gone when the closure's future ends: one that was kept
/// can't be committed, and the transaction is rolled back ([`Detail::TxKept`](super::Detail::TxKept)).
///
/// [`savepoint`](Self::savepoint) is a transaction within it, [`token`](Self::token) tells replicas that have what it
/// wrote.
pub struct Tx {
    /// Taken by `drop` alone.
    lease: Option<Lease>,
    slot: Slot,
    token: PendingToken,
}

impl Tx {
    /// Asks for the position of this transaction in the log, with which
    /// [`reader_after`](super::Postgres::reader_after) finds a replica that shows what it wrote. Return it from the
    /// closure; it is known once the transaction has committed, and costs no round trip: the question travels with
    /// COMMIT.
    ///
    /// ```no_run
    /// # async fn example(ledger: &hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// let token = ledger
    ///     .transaction(async |mut tx| -> Result<_, sqlx::Error> {
    ///         sqlx::query("INSERT INTO orders VALUES (7)").execute(&mut *tx).await?;
    ///         Ok(tx.token())
    ///     })
    ///     .await?;
    /// let reader = token.get().map_or_else(|| ledger.read_only(), |token| ledger.reader_after(token));
    /// let found = sqlx::query("SELECT * FROM orders WHERE id = 7").fetch_one(&reader).await?;
    /// # let _ = found;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(&self) -> PendingToken {
        self.token.ask();
        self.token.clone()
    }

    /// The node that it is open on.
    pub(crate) fn node(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.node().label)
    }

    /// The token of this transaction, without asking for it.
    pub(crate) fn pending(&self) -> PendingToken {
        self.token.clone()
    }

    /// A transaction within the transaction: rolled back to here unless its own `commit` is called, which keeps it as a
    /// part of the whole and makes nothing lasting by itself. A `begin` of sqlx on the `Tx` is the same.
    ///
    /// It is also how a statement may fail without the whole: after an error the server refuses everything up to the
    /// savepoint's end, and goes on from there. Dropped, it is rolled back with the next statement of the `Tx`.
    ///
    /// ```no_run
    /// # async fn example(ledger: &hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// ledger
    ///     .transaction(async |mut tx| -> Result<(), sqlx::Error> {
    ///         let mut attempt = tx.savepoint().await?;
    ///         match sqlx::query("INSERT INTO names VALUES ('ada')").execute(&mut *attempt).await {
    ///             Ok(_) => attempt.commit().await?,
    ///             Err(_) => attempt.rollback().await?,
    ///         }
    ///         sqlx::query("UPDATE accounts SET attempts = attempts + 1").execute(&mut *tx).await?;
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the server. After one the whole can't be committed, whatever the closure makes of it
    /// ([`Detail::Aborted`](super::Detail::Aborted)).
    ///
    /// Cancel-safety: dropping the future ends the transaction in the same way.
    pub async fn savepoint(&mut self) -> Result<Transaction<'_, Db>, sqlx::Error> {
        nesting::savepoint(self).await
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.lease {
            Some(lease) => &lease.peek().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.lease {
            Some(lease) => &mut lease.connection().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.lease.take();
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}

/// Why one run of the closure came to nothing.
struct Failed<E> {
    error: E,
    /// `None` for an error that is not the database's: never repeated.
    verdict: Option<Verdict>,
    node: Option<NodeId>,
}

impl<E: From<sqlx::Error>> Failed<E> {
    fn new(error: sqlx::Error, node: Option<NodeId>) -> Self {
        Self {
            verdict: Some(verdict(&error, Stage::Statement)),
            error: E::from(error),
            node,
        }
    }
}

impl View {
    /// As [`Postgres::transaction`](super::Postgres::transaction), under the rules of this view.
    ///
    /// # Errors
    /// As there.
    pub async fn transaction<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let mut running = self.client.instruments.begin();
        let result = self.transact(body, &mut running).await;
        running.ended(result.as_ref().err().map(|error| of_transaction(error)));
        result
    }

    /// The same for a caller that records the end of it.
    pub(crate) async fn transact<T, E, F, Fut>(&self, mut body: F, running: &mut Running<'_>) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let deadline = self.deadline();
        let mut attempts = Attempts::default();
        loop {
            running.if_given_up(Outcome::NotRun);
            let failed = match self.once(deadline, attempts.avoided(), &mut body, running).await {
                Ok(value) => {
                    self.client.slow.tell_transaction(running.elapsed());
                    return Ok(value);
                }
                Err(failed) => failed,
            };
            let pause = failed.verdict.and_then(|verdict| {
                attempts.next(&verdict, self.repeatable, failed.node, deadline.remaining())
            });
            let Some(pause) = pause else {
                let told = attempts.in_vain(of_transaction(&failed.error), &failed.error);
                return Err(told.map_or(failed.error, |told| E::from(told.into())));
            };
            let unknown = failed
                .verdict
                .is_some_and(|verdict| verdict.outcome == Outcome::Unknown);
            if unknown && self.read_only == ReadOnly::No {
                running.doubted();
                let node = failed.node.and_then(|id| self.client.monitor.node(id));
                attempts.doubt(node.map_or("", |node| &node.label));
            }
            self.client.instruments.retries.add(1);
            tracing::debug!(
                code = failed.verdict.map(|verdict| verdict.code),
                ?pause,
                "running the transaction again"
            );
            drop(failed);
            tokio::time::sleep(pause).await;
        }
    }

    /// One run of the closure in one transaction.
    async fn once<T, E, F, Fut>(
        &self,
        deadline: Deadline,
        avoided: &[NodeId],
        body: &mut F,
        running: &mut Running<'_>,
    ) -> Result<T, Failed<E>>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let acquired = self.client.acquire(self.destination, avoided, deadline).await;
        let mut lease = acquired.map_err(|error| Failed::new(error, None))?;
        let (node, cut) = (lease.node().clone(), lease.cut());

        let begin = begin(&mut lease, &self.client.opening, self.read_only);
        let begun = guarded(
            &cut,
            &node.label,
            deadline,
            "the reply to BEGIN",
            Outcome::RolledBack,
            begin,
        )
        .await;
        running.if_given_up(Outcome::RolledBack);
        if let Err(error) = &begun {
            // What failed may come after BEGIN in the same message: the lease stays busy, so that the connection is closed.
            self.client.blame(&node, self.verdict(error, true).consequence);
        }
        begun.map_err(|error| Failed::new(before_commit(&node.label, error), Some(node.id)))?;

        let slot = Slot::default();
        let token = PendingToken::default();
        let tx = Tx {
            lease: Some(lease),
            slot: slot.clone(),
            token: token.clone(),
        };
        let doubt = Doubt::new();
        // Boxed, or the futures of transactions within transactions double with every layer around them.
        let run = Box::pin(deadline.scope(body(tx)));
        let run = doubt.scope(async { Ok::<_, sqlx::Error>(run.await) });
        let waited_for = "the statements of a transaction";
        let ended = guarded(&cut, &node.label, deadline, waited_for, Outcome::RolledBack, run).await;
        // Without its lease the connection is closed here or wherever the Tx is: a rollback in any case.
        let returned = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (ended, returned) {
            (Err(ours), _) if doubt.is_raised() => Err(Failed::new(with_doubt(ours), Some(node.id))),
            (Err(ours), _) => Err(Failed::new(ours, Some(node.id))),
            (Ok(Ok(_)), None) => Err(Failed::new(Detail::TxKept.into(), Some(node.id))),
            (Ok(Ok(value)), Some(mut lease)) => {
                if self.read_only == ReadOnly::No {
                    running.if_given_up(Outcome::Unknown);
                }
                match self.commit(&mut lease, deadline, &token).await {
                    Ok(()) => Ok(value),
                    Err(error) => Err(Failed::new(error, Some(node.id))),
                }
            }
            (Ok(Err(error)), lease) => Err(self.undo(error, lease, &node, deadline).await),
        }
    }

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
        if let Err(aborted) = nesting::check(&lease.peek().link) {
            lease.spoil();
            return Err(aborted.into());
        }
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

    /// Rolls back after an error of the closure. Nothing of this transaction took effect, but the closure may have used
    /// other handles too: what is unknown of those stays unknown.
    async fn undo<E>(&self, error: E, lease: Option<Lease>, node: &Node, deadline: Deadline) -> Failed<E>
    where
        E: From<sqlx::Error> + StdError + 'static,
    {
        let found = find(&error);
        let verdict = found.map(|found| self.verdict(found, true));
        // Never from the bare connection of a Tx.
        let elsewhere = found.is_some_and(|found| detail(found).is_some());
        let consequence = match verdict {
            Some(verdict) if !elsewhere => verdict.consequence,
            _ => Consequence::Keep,
        };
        let rolled_back = match lease {
            Some(mut lease) if consequence != Consequence::Discard => {
                let rolled_back = roll_back(&mut lease, deadline).await;
                if consequence == Consequence::Forget && rolled_back.is_ok() {
                    forget_statements(&mut lease, deadline).await;
                }
                Some(rolled_back)
            }
            _ => None,
        };
        let broken = matches!(&rolled_back, Some(Err(failed)) if detail(failed).is_none());
        // A server that is read-only answers, also to ROLLBACK.
        let refused = verdict.is_some_and(|verdict| verdict.refuses_writes());
        if broken || refused {
            self.client.blame(node, consequence);
        }
        match found.and_then(raw_loss) {
            // The error of sqlx alone would have to be read as unknown.
            Some(reason) if broken => {
                Failed::new(lost_before_commit(&node.label, reason.to_string()), Some(node.id))
            }
            // So would that of a row that can't be read, and it may have been made into another by the closure.
            _ => match found.filter(|found| is_unreadable(found)) {
                Some(unreadable) => {
                    let reason = unreadable.to_string();
                    Failed::new(Detail::Unreadable { reason }.into(), Some(node.id))
                }
                None => Failed {
                    error,
                    verdict,
                    node: Some(node.id),
                },
            },
        }
    }
}

/// An error before COMMIT was sent, such that its outcome is told.
fn before_commit(node: &str, error: sqlx::Error) -> sqlx::Error {
    match &error {
        sqlx::Error::Io(_) if detail(&error).is_none() => lost_before_commit(node, error.to_string()),
        _ => error,
    }
}

pub(super) fn lost_before_commit(node: &str, reason: String) -> sqlx::Error {
    Detail::LostBeforeCommit {
        node: node.to_owned(),
        reason,
    }
    .into()
}

pub(super) async fn begin(
    lease: &mut Lease,
    opening: &Opening,
    read_only: ReadOnly,
) -> Result<(), sqlx::Error> {
    nesting::begin(lease.connection(), opening.sql(read_only)).await
}

/// Rolls back by `deadline` and within a short limit. If that does not work the lease stays busy, so that the
/// connection is closed. An error that is no [`Detail`] says that the connection was lost.
pub(super) async fn roll_back(lease: &mut Lease, deadline: Deadline) -> Result<(), sqlx::Error> {
    if let Err(aborted) = nesting::check(&lease.peek().link) {
        lease.spoil();
        return Err(aborted.into());
    }
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
