//! Transactions as a closure that is run again as a whole, where that is safe.
//!
//! The closure gets an **owned** [`Tx`]; dropping it hands the connection back through a slot, and then the library
//! commits. An owned value, because a closure over `&mut Tx` is not `Send` enough for an axum handler.
//!
//! sqlx counts open transactions per connection and makes a savepoint of a `begin` inside another. We send COMMIT
//! ourselves (see [`COMMIT`]), which sqlx does not count, so its count is raised once per connection and left there:
//! a `begin` on a `Tx` is always a savepoint, and never a COMMIT of the whole.

use std::error::Error as StdError;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::{Deadline, Outcome};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor as _, SqlSafeStr as _};
use tokio::time::Instant;

use super::attempts::Attempts;
use super::doubt::Doubt;
use super::error::{Detail, detail, find, of_transaction, raw_loss, verdict, with_doubt};
use super::operation::{forget_statements, guarded};
use super::pool::{Lease, Node};
use super::pooled::Opening;
use super::savepoint::Savepoint;
use super::sqlstate::{Consequence, Stage, Verdict};
use super::token::{PendingToken, Token};
use super::topology::NodeId;
use super::view::{ReadOnly, View};
use super::watched::Watched;

/// In a transaction of which a statement had failed, the first part fails with 25P02. COMMIT alone would be answered
/// ROLLBACK as a success, which sqlx does not tell from a commit (measured).
const COMMIT: &str = "SELECT 1; COMMIT";

/// How long a ROLLBACK may take before the connection is closed instead, which has the same effect.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(1);

type Slot = Arc<Mutex<Option<Lease>>>;

/// An open transaction, given to the closure of [`transaction`](super::Postgres::transaction).
///
/// Dereferences to an executor: `.execute(&mut *tx)`, see [`Watched`]; and through it to [`PgConnection`], for functions
/// that want one. The library begins and ends the transaction; dropping the `Tx` only says that the closure is done with
/// it. It must be gone when the closure's future ends: one that was kept can't be committed, and the transaction is
/// rolled back ([`Detail::TxKept`](super::Detail::TxKept)).
///
/// [`savepoint`](Self::savepoint) is a transaction within it, [`token`](Self::token) tells replicas that have what it
/// wrote.
pub struct Tx {
    connection: Watched<Held>,
    slot: Slot,
    token: PendingToken,
}

/// The connection of a [`Tx`], which goes back to the library with it.
pub struct Held {
    /// Taken by dropping the `Tx` alone.
    lease: Option<Lease>,
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.lease {
            Some(lease) => &lease.peek().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.lease {
            Some(lease) => &mut lease.connection().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
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
        &self.connection.node().label
    }

    /// The token of this transaction, without asking for it.
    pub(crate) fn pending(&self) -> PendingToken {
        self.token.clone()
    }

    /// A transaction within the transaction: rolled back to here unless its own `commit` is called, which keeps it as a
    /// part of the whole and makes nothing lasting by itself. A `begin` of sqlx on the `Tx` is the same, without a word of
    /// its slow statements.
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
    /// Those of the server.
    ///
    /// Cancel-safety: dropping the future leaves the transaction to its end; do not go on with the `Tx` after it.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, sqlx::Error> {
        self.connection.savepoint().await
    }
}

impl Deref for Tx {
    type Target = Watched<Held>;

    fn deref(&self) -> &Watched<Held> {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Watched<Held> {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.connection.link.lease.take();
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
    /// Trying again would not get what the whole deadline did not.
    fn for_good(error: sqlx::Error) -> Self {
        Self {
            error: E::from(error),
            verdict: None,
            node: None,
        }
    }

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
        let started = Instant::now();
        let result = self.transact(body).await;
        let failed = result.as_ref().err().map(|error| of_transaction(error));
        self.client.instruments.ended(started.elapsed(), failed);
        result
    }

    /// The same for a caller that records the end of it.
    pub(crate) async fn transact<T, E, F, Fut>(&self, mut body: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let started = Instant::now();
        let deadline = self.deadline();
        let mut attempts = Attempts::default();
        loop {
            let failed = match self.once(deadline, attempts.avoided(), &mut body).await {
                Ok(value) => {
                    self.client.slow.tell_transaction(started.elapsed());
                    return Ok(value);
                }
                Err(failed) => failed,
            };
            let pause = failed.verdict.and_then(|verdict| {
                attempts.next(&verdict, self.repeatable, failed.node, deadline.remaining())
            });
            let Some(pause) = pause else {
                return Err(failed.error);
            };
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
    ) -> Result<T, Failed<E>>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let acquired = self.client.acquire(self.destination, avoided, deadline).await;
        let mut lease = acquired.map_err(Failed::for_good)?;
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
        if let Err(error) = &begun {
            let verdict = self.verdict(error, true);
            self.client.conclude(&mut lease, Some(&verdict), deadline).await;
        }
        begun.map_err(|error| Failed::new(before_commit(&node.label, error), Some(node.id)))?;

        let slot = Slot::default();
        let token = PendingToken::default();
        let held = Held { lease: Some(lease) };
        let tx = Tx {
            connection: Watched::new(held, self.clone(), node.clone()),
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
            (Ok(Ok(value)), Some(mut lease)) => match self.commit(&mut lease, deadline, &token).await {
                Ok(()) => Ok(value),
                Err(error) => Err(Failed::new(error, Some(node.id))),
            },
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
            _ => Failed {
                error,
                verdict,
                node: Some(node.id),
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
    let begin = opening.sql(read_only);
    let connection = lease.connection();
    if connection.nests {
        connection.link.execute(begin).await?;
    } else {
        // Forgotten, so that the count of sqlx stays at one; it holds nothing but the borrow of the connection.
        std::mem::forget(connection.link.begin_with(begin).await?);
        connection.nests = true;
    }
    Ok(())
}

/// Rolls back by `deadline` and within a short limit. If that does not work the lease stays busy, so that the
/// connection is closed. An error that is no [`Detail`] says that the connection was lost.
pub(super) async fn roll_back(lease: &mut Lease, deadline: Deadline) -> Result<(), sqlx::Error> {
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
