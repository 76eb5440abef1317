//! A connection of the raw driver, for the harness and for whoever wants to read the truth.

use std::ops::Deref;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::Error;

/// A `tokio_postgres::Client` together with the task that drives it. Dropping it closes the connection.
///
/// It lives on the runtime that opened it: keep none in a static that several tests share.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Session {
    pub(crate) async fn open(config: &Config, limit: Duration) -> Result<Session, Error> {
        let refused = |answer: String| Error::refused(format!("log in at {:?}", config.get_ports()), answer);
        let (client, connection) = tokio::time::timeout(limit, config.connect(NoTls))
            .await
            .map_err(|_| refused(format!("silence for {limit:?}")))?
            .map_err(|error| refused(said(&error)))?;
        let driver = tokio::spawn(async move {
            // Its error reaches every pending query as well.
            let _ended = connection.await;
        });
        Ok(Session { client, driver })
    }

    /// One value of one row.
    pub(crate) async fn value<T>(&self, sql: &str) -> Result<T, Error>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.client.query_one(sql, &[]).await.map_err(answered(sql))?;
        row.try_get(0).map_err(answered(sql))
    }

    /// Statements without an answer.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(answered(sql))
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn answered(sql: &str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    let sql = sql.to_owned();
    move |error| Error::refused(format!("run `{sql}`"), said(&error))
}

/// The driver's own text leaves the server's message to its source.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}
