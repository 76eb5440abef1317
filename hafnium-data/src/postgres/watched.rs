//! The connection of a transaction, as an executor that tells of statements that were slow.
//!
//! It dereferences to [`PgConnection`], for code that wants one: a statement that is run there is not seen here, and is
//! told of as a part of its transaction only.

use std::future::ready;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Acquire, Describe, Either, Error, Execute, Executor, Postgres as Db, SqlStr, Transaction};

use super::nesting;
use super::pool::Node;
use super::savepoint::Savepoint;
use super::slow::{Rows, Watch};
use super::statement::Statement;
use super::view::View;

/// What a [`Tx`](super::Tx) and a [`Savepoint`] dereference to: an [`Executor`] whose slow statements are in the log with
/// their text. `.execute(&mut *tx)` means this one.
///
/// It dereferences to [`PgConnection`] in turn, so that `&mut *tx` also passes for a `&mut PgConnection`. Statements that
/// such a function runs are told of as a whole, as a slow transaction.
pub struct Watched<L> {
    pub(crate) link: L,
    view: View,
    node: Arc<Node>,
}

impl<L> Watched<L> {
    /// `link` leads to `node`, in a transaction of `view`.
    pub(crate) fn new(link: L, view: View, node: Arc<Node>) -> Self {
        Self { link, view, node }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

impl<L: DerefMut<Target = PgConnection>> Watched<L> {
    /// A transaction within the transaction, see [`Tx::savepoint`](super::Tx::savepoint).
    ///
    /// # Errors
    /// Those of the server. After one the whole can't be committed, whatever the closure makes of it
    /// ([`Detail::Aborted`](super::Detail::Aborted)).
    ///
    /// Cancel-safety: dropping the future ends the transaction in the same way.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, Error> {
        let begun = nesting::savepoint(&mut self.link).await?;
        Ok(Savepoint::new(Watched::new(
            begun,
            self.view.clone(),
            self.node.clone(),
        )))
    }

    fn begin(&mut self, statement: &Statement) -> (&mut PgConnection, Watch<'_>, Told<'_>) {
        let Self { link, view, node } = self;
        let watch = Watch::new(&view.client.slow, node.clone(), statement.text().clone());
        (&mut *link, watch, Told { view, node })
    }
}

impl<L: Deref<Target = PgConnection>> Deref for Watched<L> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.link
    }
}

impl<L: DerefMut<Target = PgConnection>> DerefMut for Watched<L> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.link
    }
}

impl<L> std::fmt::Debug for Watched<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("node", &self.node.label)
            .finish_non_exhaustive()
    }
}

/// Says how an error is told to the caller.
struct Told<'a> {
    view: &'a View,
    node: &'a Node,
}

impl Told<'_> {
    fn of(&self, error: Error) -> Error {
        self.view.told(&self.node.label, error, true)
    }
}

/// A statement whose result is given to the caller as a whole.
fn whole<'c, 'e, T, L>(
    watched: &'c mut Watched<L>,
    statement: Result<Statement, Error>,
    operation: impl FnOnce(&'c mut PgConnection, Statement) -> BoxFuture<'e, Result<T, Error>> + Send + 'e,
) -> BoxFuture<'e, Result<T, Error>>
where
    'c: 'e,
    T: Rows + Send + 'e,
    L: DerefMut<Target = PgConnection> + Send,
{
    Box::pin(async move {
        let statement = statement?;
        let (link, watch, told) = watched.begin(&statement);
        let result = operation(link, statement).await;
        watch.ended(result.as_ref().ok().and_then(Rows::rows));
        result.map_err(|error| told.of(error))
    })
}

impl<'c, L: DerefMut<Target = PgConnection> + Send> Executor<'c> for &'c mut Watched<L> {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        whole(self, Statement::of(query), |link, statement| {
            link.execute(statement)
        })
    }

    /// Rows as they come; the reader's own pauses count as time that the statement took.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = match Statement::of(query) {
            Ok(statement) => statement,
            Err(error) => return stream::once(ready(Err(error))).boxed(),
        };
        let (link, watch, told) = self.begin(&statement);
        let (mut watch, mut rows) = (Some(watch), None);
        let steps = link.fetch_many(statement).map(Some);
        // The reader may keep the stream after its end.
        let steps = steps.chain(stream::once(ready(None)));
        steps
            .filter_map(move |step| {
                match &step {
                    Some(Ok(Either::Left(done))) => rows = Some(rows.unwrap_or(0) + done.rows_affected()),
                    Some(_) => {}
                    None => watch.take().into_iter().for_each(|watch| watch.ended(rows)),
                }
                ready(step.map(|step| step.map_err(|error| told.of(error))))
            })
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        whole(self, Statement::of(query), |link, statement| {
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
        whole(self, Statement::of(sql), move |link, statement| {
            link.prepare_with(Execute::sql(statement), parameters)
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'c: 'e,
    {
        whole(self, Statement::of(sql), |link, statement| {
            link.describe(Execute::sql(statement))
        })
    }
}

/// For functions over `impl Acquire`: the bare connection and, as `begin`, a savepoint of sqlx.
impl<'c, L: DerefMut<Target = PgConnection> + Send> Acquire<'c> for &'c mut Watched<L> {
    type Database = Db;
    type Connection = &'c mut PgConnection;

    fn acquire(self) -> BoxFuture<'c, Result<Self::Connection, Error>> {
        ready(Ok(&mut *self.link)).boxed()
    }

    fn begin(self) -> BoxFuture<'c, Result<Transaction<'c, Db>, Error>> {
        nesting::savepoint(&mut self.link).boxed()
    }
}
