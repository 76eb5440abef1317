//! A connection that is the caller's alone, for what a session keeps: settings, temporary tables, locks, COPY.
//!
//! Every use of it is bounded and ends when its node is cut. That is why it gives no [`PgConnection`] away: a future of
//! the bare connection would wait for a frozen server for ever, and a deposed one could acknowledge through it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hafnium_core::{Deadline, Outcome};
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Error, Execute, Executor, Postgres as Db, SqlStr};

use super::client::Client;
use super::doubt::Sent;
use super::error::{Detail, of_handle, of_part};
use super::handle::Postgres;
use super::operation::{guarded, uncut};
use super::pool::{Lease, Node};
use super::rows;
use super::slow::{Rows, Watch};
use super::statement::Statement;
use super::tenure::Cut;
use super::view::View;

/// How long the server may take to forget a session before its connection is closed instead.
const CLEANING: Duration = Duration::from_secs(1);

/// A connection of the pool that nobody else uses until it is dropped; made by [`Postgres::acquire`].
///
/// `&mut Dedicated` is an [`sqlx::Executor`]: what one statement leaves in the session, the next one finds. Transactions
/// may be begun and ended by statements, and there is COPY ([`copy_in`](Self::copy_in), [`copy_out`](Self::copy_out)).
/// Each statement ends by the deadline of the handle it came from. Nothing is repeated.
///
/// Dropped, it goes back to the pool after `DISCARD ALL`, which takes a round trip in the background. It is closed
/// instead when a statement on it was given up or lost, when a transaction is open, or when the server does not answer
/// within a second.
#[must_use]
pub struct Dedicated {
    /// Taken by `drop` alone.
    lease: Option<Lease>,
    view: View,
    /// Something was sent whose reply was not read to the end: nothing can follow.
    spent: bool,
}

impl Postgres {
    /// A connection to the primary for the caller alone. It counts against `max`.
    ///
    /// ```no_run
    /// # async fn example(ledger: hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// let mut session = ledger.acquire().await?;
    /// sqlx::query("SET work_mem = '256MB'").execute(&mut session).await?;
    /// let report: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts").fetch_one(&mut session).await?;
    /// # let _ = report;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As those of a statement before it is sent; the outcome is always *not run*.
    ///
    /// Cancel-safe.
    pub async fn acquire(&self) -> Result<Dedicated, Error> {
        self.view().acquire().await
    }
}

impl View {
    /// As [`Postgres::acquire`], under the rules of this view: that of a [`reader`](Self::reader) leads to a replica.
    ///
    /// # Errors
    /// As there.
    pub async fn acquire(&self) -> Result<Dedicated, Error> {
        self.client.opening.session("acquire()")?;
        let deadline = self.deadline();
        loop {
            let mut lease = self.client.acquire(self.destination, &[], deadline).await?;
            // What died while it was idle is found out here: later statements can't be repeated elsewhere.
            let (node, cut) = (lease.node().clone(), lease.cut());
            let ping = lease.connection().link.ping();
            let waited_for = "the answer of an idle connection";
            match guarded(&cut, &node.label, deadline, waited_for, Outcome::NotRun, ping).await {
                Ok(()) => {
                    lease.settle();
                    return Ok(Dedicated {
                        lease: Some(lease),
                        view: self.clone(),
                        spent: false,
                    });
                }
                Err(error) if deadline.is_past() => return Err(error),
                Err(error) => self.client.judge(&mut lease, Some(&self.verdict(&error, false))),
            }
        }
    }
}

impl Dedicated {
    /// The node it leads to, as host and port.
    pub fn node(&self) -> &str {
        match &self.lease {
            Some(lease) => &lease.node().label,
            None => unreachable!("only dropping a Dedicated takes its connection"),
        }
    }

    /// Begins an operation; [`Dedicated::ended`] must follow, or the connection is closed.
    ///
    /// # Errors
    /// When an earlier operation was given up or lost.
    pub(super) fn begin(&mut self) -> Result<Operation<'_>, Error> {
        let Some(lease) = &mut self.lease else {
            unreachable!("only dropping a Dedicated takes its connection")
        };
        let node = lease.node().clone();
        if std::mem::replace(&mut self.spent, true) {
            let node = node.label.clone();
            return Err(Detail::Spent { node }.into());
        }
        Ok(Operation {
            cut: lease.cut(),
            node,
            view: &self.view,
            link: &mut lease.connection().link,
        })
    }

    /// Draws the conclusions from how the operation ended.
    pub(super) fn ended<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        let Some(lease) = &mut self.lease else {
            return result;
        };
        let result = result.map_err(|error| of_handle(&lease.node().label, error));
        let verdict = result.as_ref().err().map(|error| self.view.verdict(error, false));
        lease.spoil();
        self.view.client.judge(lease, verdict.as_ref());
        self.spent = lease.is_busy();
        result.map_err(|error| self.view.told(&lease.node().label, error, false))
    }

    /// Nothing can follow if `failed`.
    pub(super) fn close_if(&mut self, failed: bool) {
        self.spent |= failed;
    }

    async fn run<T: Rows>(
        &mut self,
        statement: Statement,
        operation: impl for<'a> FnOnce(&'a mut PgConnection, Statement) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = self.begin()?;
        let deadline = begun.view.deadline();
        let guard = begun.guard();
        let watch = Watch::new(&begun.view.client.slow, begun.node, statement.text().clone());
        let unsent = match statement.ends_transaction() {
            true => Outcome::RolledBack,
            false => Outcome::NotRun,
        };
        let partly = statement.may_commit();
        let result = match uncut(&guard.cut, &guard.node, unsent) {
            Ok(()) => {
                let running = operation(begun.link, statement);
                let waited_for = "the reply to a statement";
                guard.run(deadline, waited_for, Outcome::Unknown, running).await
            }
            Err(error) => Err(error),
        };
        watch.ended(result.as_ref().ok().and_then(Rows::rows));
        let result = self.ended(result);
        match partly {
            true => result.map_err(|error| of_part(&guard.node, error)),
            false => result,
        }
    }

    /// Runs a statement whose result is given to the caller as a whole.
    fn whole<'e, T: Rows + Send + 'e>(
        &'e mut self,
        statement: Result<Statement, Error>,
        operation: impl for<'a> FnOnce(&'a mut PgConnection, Statement) -> BoxFuture<'a, Result<T, Error>>
        + Send
        + 'e,
    ) -> BoxFuture<'e, Result<T, Error>> {
        Box::pin(async move { self.run(statement?, operation).await })
    }
}

/// An operation that has begun.
pub(super) struct Operation<'a> {
    pub(super) link: &'a mut PgConnection,
    pub(super) view: &'a View,
    cut: Cut,
    node: Arc<Node>,
}

impl Operation<'_> {
    pub(super) fn guard(&self) -> Guard {
        Guard {
            cut: self.cut.clone(),
            node: self.node.label.clone(),
        }
    }
}

/// What ends an operation before its reply does.
pub(super) struct Guard {
    cut: Cut,
    node: String,
}

impl Guard {
    pub(super) async fn run<T>(
        &self,
        deadline: Deadline,
        waited_for: &'static str,
        otherwise: Outcome,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let sent = (otherwise == Outcome::Unknown).then(Sent::now);
        let result = guarded(&self.cut, &self.node, deadline, waited_for, otherwise, operation).await;
        if let Some(sent) = sent {
            sent.answered();
        }
        result
    }

    /// Waits for something of the caller's own, which only a cut ends.
    pub(super) async fn unless_cut<T>(&self, own: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            reason = self.cut.made() => {
                Err(Detail::Cut { node: self.node.clone(), reason, outcome: Outcome::RolledBack }.into())
            }
            value = own => Ok(value),
        }
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        let client = self.view.client.clone();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.spent => {
                let tracker = client.tracker.clone();
                tracker.spawn_on(clean(client, lease), &runtime);
            }
            _ => lease.spoil(),
        }
    }
}

/// Makes the server forget the session; a connection on which that fails is closed.
async fn clean(client: Arc<Client>, mut lease: Lease) {
    let (node, cut) = (lease.node().clone(), lease.cut());
    let link = &mut lease.connection().link;
    let forget = async {
        link.clear_cached_statements().await?;
        // Refused inside a transaction.
        link.execute("DISCARD ALL").await.map(drop)
    };
    let waited_for = "the end of a session";
    let limit = Deadline::after(CLEANING);
    let cleaned = guarded(&cut, &node.label, limit, waited_for, Outcome::RolledBack, forget).await;
    match cleaned {
        Ok(()) if !client.is_closed() => lease.settle(),
        _ => lease.spoil(),
    }
}

impl std::fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dedicated")
            .field("node", &self.lease.as_ref().map(|lease| &lease.node().label))
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut Dedicated {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.whole(Statement::of(query), |link, statement| link.execute(statement))
    }

    /// Rows as they come. The deadline bounds the whole stream, the reader's own pauses included. Dropped before its
    /// end, the connection can't be used any more.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = Statement::of(query);
        rows::stream(move |outlet: rows::Outlet<rows::Step>| async move {
            self.run(statement?, |link, statement| {
                Box::pin(async move {
                    let mut steps = link.fetch_many(statement);
                    while let Some(step) = steps.next().await {
                        outlet.put(step?).await;
                    }
                    Ok(())
                })
            })
            .await
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.whole(Statement::of(query), |link, statement| {
            link.fetch_optional(statement)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let parameters = parameters.to_vec();
        self.whole(Statement::of(sql), move |link, statement| {
            Box::pin(async move { link.prepare_with(Execute::sql(statement), &parameters).await })
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'c: 'e,
    {
        self.whole(Statement::of(sql), |link, statement| {
            link.describe(Execute::sql(statement))
        })
    }
}
