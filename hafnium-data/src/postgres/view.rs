//! Views of a database: the same handle under other rules, cheap to make and each an executor.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hafnium_core::component::BoxFuture;
use hafnium_core::{Classify, Deadline, Outcome};
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::attempts::{Attempts, Repeatable};
use super::client::Client;
use super::doubt::Sent;
use super::error::{Detail, classify, of_handle, of_part, verdict};
use super::handle::Watching;
use super::operation::{guarded_by, uncut};
use super::route::Destination;
use super::slow::{Rows, Took};
use super::sqlstate::{Stage, Verdict};
use super::statement::Statement;
use super::token::Token;

/// A handle with rules of its own, made by [`Postgres::within`](super::Postgres::within) and its like.
///
/// `&View` is an [`sqlx::Executor`], and a view has [`transaction`](View::transaction) too.
#[derive(Clone)]
#[must_use]
pub struct View {
    pub(crate) client: Arc<Client>,
    pub(crate) limit: Option<Duration>,
    pub(crate) destination: Destination,
    pub(crate) repeatable: Repeatable,
    pub(crate) read_only: ReadOnly,
    /// `None` for work of the client's own, which ends with the last user.
    pub(crate) _watching: Option<Arc<Watching>>,
}

/// Whether transactions of a view may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOnly {
    No,
    Yes,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("limit", &self.limit)
            .field("destination", &self.destination)
            .field("repeatable", &self.repeatable)
            .finish_non_exhaustive()
    }
}

impl View {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        let destination = client.sought;
        Self {
            client,
            limit: None,
            destination,
            repeatable: Repeatable::WhenCertain,
            read_only: ReadOnly::No,
            _watching: None,
        }
    }

    /// The same, keeping the nodes watched for as long as it lives.
    pub(crate) fn watching(self, watching: Watching) -> Self {
        Self {
            _watching: Some(Arc::new(watching)),
            ..self
        }
    }

    /// Operations end within `limit`; a nearer deadline of the task or the settings stays in force.
    pub fn within(&self, limit: Duration) -> Self {
        let limit = Some(self.limit.map_or(limit, |nearer| nearer.min(limit)));
        Self {
            limit,
            ..self.clone()
        }
    }

    /// Declares that running an operation twice does no harm, so that it is also repeated when its outcome is
    /// unknown.
    ///
    /// After such a try, an error that is certain of the last one only becomes
    /// [`Detail::EarlierTry`](super::Detail::EarlierTry), also one that the closure of a transaction ends with.
    pub fn idempotent(&self) -> Self {
        Self {
            repeatable: Repeatable::Always,
            ..self.clone()
        }
    }

    /// Declares that operations only read, so that they are repeated as often as it takes. Transactions are begun
    /// `READ ONLY`; that single statements do not write is the caller's word.
    pub fn read_only(&self) -> Self {
        Self {
            repeatable: Repeatable::Always,
            read_only: ReadOnly::Yes,
            ..self.clone()
        }
    }

    /// Reads from a replica that is at most `max_lag` behind, the least used one, else from the primary (which
    /// `reader_fallback` of the settings can forbid). What one replica can't answer, such as a query that its replay
    /// conflicts with (40001), goes to the next, then to the primary. Implies [`read_only`](Self::read_only).
    pub fn reader(&self) -> Self {
        Self {
            destination: match self.destination {
                // Nearer is not to be had where only standbys are asked for.
                Destination::Session(attrs) if attrs.reads() => self.destination,
                _ => Destination::Reader,
            },
            ..self.read_only()
        }
    }

    /// As [`reader`](Self::reader), and sees what the transaction of `token` wrote: reads from a replica that has
    /// replayed as much, waits for one no longer than `rw_wait` of the settings, else reads from the primary. A token of
    /// a timeline before the last failover goes to the primary at once.
    ///
    /// Operations fail with [`Detail::ForeignToken`](super::Detail::ForeignToken) when the token is of another cluster.
    pub fn reader_after(&self, token: Token) -> Self {
        Self {
            destination: Destination::ReaderAfter(token),
            ..self.read_only()
        }
    }

    /// A view of the primary without the limits of this one, for work that belongs to no caller. Its statements may be
    /// repeated. It does not keep the nodes watched.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.client.clone()).idempotent()
    }

    /// The deadline of an operation that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        let limit = self
            .limit
            .map_or(self.client.timeout, |limit| limit.min(self.client.timeout));
        Deadline::nearest(limit)
    }

    /// What `error` of a statement means, on its own or in a transaction of this view. Only such a transaction is
    /// begun `READ ONLY`: a primary that refuses a statement on its own is none any more, or is read-only by setting,
    /// which its probe shows.
    pub(crate) fn verdict(&self, error: &sqlx::Error, in_transaction: bool) -> Verdict {
        let verdict = verdict(error, Stage::Statement);
        if self.refuses_by_rights(error, &verdict, in_transaction) {
            verdict.by_rights()
        } else if verdict.refuses_writes() && self.client.monitor.snapshot().read_only {
            verdict.by_setting()
        } else {
            verdict
        }
    }

    /// Whether `error` refuses a write where only reads were asked for.
    fn refuses_by_rights(&self, error: &sqlx::Error, verdict: &Verdict, in_transaction: bool) -> bool {
        let state = error.as_database_error().and_then(|error| error.code());
        let literal = state.is_some_and(|state| state == "25006");
        let by_rights = match self.destination {
            Destination::Reader | Destination::ReaderAfter(_) => true,
            Destination::Session(attrs) if attrs.reads() => true,
            // What amounts to 25006 is not said of a transaction that is read-only by wish.
            Destination::Writer | Destination::Session(_) => {
                in_transaction && self.read_only == ReadOnly::Yes && literal
            }
        };
        by_rights && verdict.refuses_writes()
    }

    /// `error` of a statement on `node` as its caller gets it. The server's word for a write that was refused where
    /// only reads were asked for is also its word for a failover, which may be tried again.
    pub(crate) fn told(&self, node: &str, error: sqlx::Error, in_transaction: bool) -> sqlx::Error {
        let verdict = verdict(&error, Stage::Statement);
        match error.as_database_error() {
            Some(refusal) if self.refuses_by_rights(&error, &verdict, in_transaction) => Detail::ReadOnly {
                node: node.to_owned(),
                message: refusal.message().to_owned(),
            }
            .into(),
            _ => error,
        }
    }

    /// To be made before something is sent that may take effect; `None` where doing it twice does no harm.
    pub(crate) fn sent(&self) -> Option<Sent> {
        (self.repeatable == Repeatable::WhenCertain).then(Sent::now)
    }

    /// What becomes of a statement whose caller does not wait for the reply.
    fn given_up(&self) -> Outcome {
        match self.read_only {
            ReadOnly::Yes => Outcome::RolledBack,
            ReadOnly::No => Outcome::Unknown,
        }
    }

    /// Runs `statement` by `operation`, again where that is safe, until the deadline. `begun` says whether a part of
    /// the result was given to the caller already, after which nothing is repeated.
    pub(crate) async fn run<T: Rows>(
        &self,
        statement: Statement,
        begun: impl Fn() -> bool,
        operation: impl for<'a> Fn(&'a mut PgConnection, Statement) -> BoxFuture<'a, Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let mut running = self.client.instruments.begin();
        let deadline = self.deadline();
        let mut alarm = pin!(tokio::time::sleep_until(deadline.instant()));
        let mut attempts = Attempts::default();
        let mut last = None;
        let result = loop {
            let mut lease = match self
                .client
                .acquire_by(self.destination, attempts.avoided(), deadline, alarm.as_mut())
                .await
            {
                Ok(lease) => lease,
                Err(error) => break Err(error),
            };
            let node = lease.node().clone();
            let sent = self.sent();
            let begins = Instant::now();
            let enclosed = self.client.opening.encloses(&statement);
            running.if_given_up(self.given_up());
            let result = if enclosed {
                self.enclosed(&mut lease, deadline, statement.clone(), &operation)
                    .await
            } else {
                let (link, cut) = lease.begin();
                let reply = operation(link, statement.clone());
                let waited_for = "the reply to a statement";
                let (alarm, otherwise) = (alarm.as_mut(), Outcome::Unknown);
                match uncut(cut, &node.label, Outcome::NotRun) {
                    Ok(()) => guarded_by(cut, &node.label, alarm, waited_for, otherwise, reply).await,
                    Err(error) => Err(error),
                }
            };
            running.if_given_up(Outcome::NotRun);
            if let Some(sent) = sent {
                sent.answered();
            }
            last = Some((node.clone(), begins.elapsed()));
            let result = result.map_err(|error| of_handle(&node.label, error));
            let verdict = result.as_ref().err().map(|error| self.verdict(error, false));
            if !enclosed {
                self.client.conclude(&mut lease, verdict.as_ref(), deadline).await;
            }
            if statement.is_script() {
                // It may have left the connection inside a transaction: not for the next caller.
                lease.spoil();
            }
            drop(lease);
            let Some(verdict) = verdict else { break result };
            let partly = !enclosed && statement.may_commit();
            if partly && verdict.outcome != Outcome::NotRun {
                break result.map_err(|error| of_part(&node.label, error));
            }
            if begun() || (statement.is_script() && verdict.outcome != Outcome::NotRun) {
                break result;
            }
            match attempts.next(&verdict, self.repeatable, Some(node.id), deadline.remaining()) {
                Some(pause) => {
                    self.client.instruments.retries.add(1);
                    tracing::debug!(code = verdict.code, node = node.label, ?pause, "trying again");
                    if verdict.outcome == Outcome::Unknown && self.read_only == ReadOnly::No {
                        running.doubted();
                        attempts.doubt(&node.label);
                    }
                    tokio::time::sleep(pause).await;
                }
                None => break result,
            }
        };
        let result = match &last {
            Some((node, _)) => result.map_err(|error| self.told(&node.label, error, false)),
            None => result,
        };
        let result = result.map_err(|error| {
            let told = attempts.in_vain(classify(&error).outcome(), &error);
            told.map_or(error, Into::into)
        });
        let all = running.elapsed();
        let failed = result.as_ref().err().map(|error| classify(error).outcome());
        running.ended(failed);
        if self.client.slow.is_slow(all) {
            let ran = last.as_ref().map_or(Duration::ZERO, |(_, ran)| *ran);
            let rows = result.as_ref().ok().and_then(Rows::rows);
            let node = last.as_ref().map(|(node, _)| node);
            let took = Took { all, ran };
            self.client.slow.tell(statement.text(), node, took, rows);
        }
        result
    }
}
