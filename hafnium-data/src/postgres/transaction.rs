//! Transactions as a closure that is run again as a whole, where that is safe.
//!
//! The closure gets an **owned** [`Tx`]; dropping it hands the connection back through a slot, and then the library
//! commits. An owned value, because a closure over `&mut Tx` is not `Send` enough for an axum handler.
//!
//! We send COMMIT ourselves, see the module `commit`; what that means to sqlx, which counts transactions, is in the module
//! `nesting`.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::PoisonError;

use hafnium_core::{Deadline, Outcome};

use super::attempts::Attempts;
use super::commit::{begin, roll_back};
use super::doubt::Doubt;
use super::error::{Detail, detail, find, is_unreadable, of_transaction, raw_loss, verdict, with_doubt};
use super::instruments::Running;
use super::operation::{forget_statements, guarded};
use super::pool::{Lease, Node};
use super::sqlstate::{Consequence, Stage, Verdict};
use super::token::PendingToken;
use super::topology::NodeId;
use super::tx::{Slot, Tx};
use super::view::{ReadOnly, View};

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
        running.if_given_up(Outcome::RolledBack);
        if let Err(error) = &begun {
            // What failed may come after BEGIN in the same message: the lease stays busy, so that the connection is closed.
            self.client.blame(&node, self.verdict(error, true).consequence);
        }
        begun.map_err(|error| Failed::new(before_commit(&node.label, error), Some(node.id)))?;

        let slot = Slot::default();
        let token = PendingToken::default();
        let tx = Tx::new(lease, self, node.clone(), slot.clone(), token.clone());
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
