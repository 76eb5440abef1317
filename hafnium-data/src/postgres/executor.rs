//! Handles and views as executors of sqlx, so that query macros and builders work unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, Postgres as Db, SqlStr};

use super::handle::Postgres;
use super::rows;
use super::statement::Statement;
use super::view::View;

impl<'c> Executor<'c> for &'c View {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = Statement::take(query);
        Box::pin(async move {
            self.run(
                statement?,
                || false,
                |connection, statement| connection.execute(statement),
            )
            .await
        })
    }

    /// Rows as they come. The deadline bounds the whole stream, the reader's own pauses included. Nothing is
    /// repeated once the first step was yielded.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = Statement::take(query);
        rows::stream(move |outlet: rows::Outlet<rows::Step>| async move {
            let begun = Arc::new(AtomicBool::new(false));
            let yielded = begun.clone();
            self.run(
                statement?,
                || yielded.load(Ordering::Relaxed),
                |connection, statement| {
                    let (outlet, begun) = (outlet.clone(), begun.clone());
                    Box::pin(async move {
                        let mut steps = connection.fetch_many(statement);
                        while let Some(step) = steps.next().await {
                            let step = step?;
                            begun.store(true, Ordering::Relaxed);
                            outlet.put(step).await;
                        }
                        Ok(())
                    })
                },
            )
            .await
        })
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = Statement::take(query);
        Box::pin(async move {
            self.run(
                statement?,
                || false,
                |connection, statement| connection.fetch_all(statement),
            )
            .await
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        let statement = Statement::take(query);
        Box::pin(async move {
            self.run(
                statement?,
                || false,
                |connection, statement| connection.fetch_optional(statement),
            )
            .await
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
        let statement = Statement::to_prepare(sql);
        let parameters: Arc<[PgTypeInfo]> = parameters.into();
        Box::pin(async move {
            self.run(
                statement?,
                || false,
                |connection, statement: Statement| {
                    let parameters = parameters.clone();
                    Box::pin(async move {
                        connection
                            .prepare_with(Execute::sql(statement), &parameters)
                            .await
                    })
                },
            )
            .await
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'c: 'e,
    {
        let statement = Statement::to_prepare(sql);
        Box::pin(async move {
            self.run(
                statement?,
                || false,
                |connection, statement: Statement| connection.describe(Execute::sql(statement)),
            )
            .await
        })
    }
}

impl<'c> Executor<'c> for &'c Postgres {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.view().execute(query)
    }

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.view().fetch_many(query)
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.view().fetch_all(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        self.view().fetch_optional(query)
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        self.view().prepare_with(sql, parameters)
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'c: 'e,
    {
        self.view().describe(sql)
    }
}
