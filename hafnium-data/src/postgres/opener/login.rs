//! One login: with the credentials in use, within its budget, until the node is cut.

use std::future::Future;
use std::sync::Arc;

use hafnium_core::component::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::Instant;

use super::super::credentials::{Pair, Seal, refuses};
use super::super::error::verdict;
use super::super::login_thread;
use super::super::sqlstate::Stage;
use super::super::tenure::Pass;
use super::{Connection, Opener};

/// Why a login failed. Shared, because all who wait get the same answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("login failed: {0}")]
pub(crate) struct LoginError(pub(crate) Arc<sqlx::Error>);

impl From<sqlx::Error> for LoginError {
    fn from(error: sqlx::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl LoginError {
    /// Whether the server has no room for another connection: 53300, 53400.
    pub(super) fn is_full(&self) -> bool {
        verdict(&self.0, Stage::Statement).is_full()
    }

    /// Whether it was not answered in time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(&*self.0, sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut)
    }

    /// The error of sqlx; of one that others hold too, what it says.
    fn into_inner(self) -> sqlx::Error {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| std::io::Error::other(shared.to_string()).into())
    }
}

/// Tries of one login: with what was in use, with what the keeper found, and with what came meanwhile.
const TRIES: usize = 3;

impl Opener {
    /// What `login`, which logs in once, makes of a connection of its own, outside the pool: when nobody else looks for
    /// credentials that work, and once more with those that were found when it is refused.
    ///
    /// Cancel-safe, if `login` is.
    pub(crate) async fn log_in_by<T, F>(
        &self,
        login: impl Fn(PgConnectOptions) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let (options, seal) = self.admitted().await?;
        let address = &self.door.address;
        match address.log_in(&options, self.budget, &login).await {
            Err(error) if refuses(&error) => {
                let error = Arc::new(error);
                self.door.credentials.refused(self.door.node, &seal, &error);
                let (options, _) = self.admitted().await?;
                address.log_in(&options, self.budget, &login).await
            }
            done => done,
        }
    }

    async fn admitted(&self) -> Result<(PgConnectOptions, Seal), sqlx::Error> {
        let credentials = &self.door.credentials;
        let admission = credentials.admission(self.door.node, &self.door.options).await;
        admission.map_err(LoginError::into_inner)
    }

    /// How logins are made by others, for as long as what is returned with the options runs.
    pub(crate) fn lasting(&self) -> std::io::Result<(PgConnectOptions, Option<BoxFuture<'static, ()>>)> {
        let options = self.door.credentials.sign(&self.door.options);
        self.door.address.lasting(options)
    }

    /// A connection of its own, outside the pool, with `options` changed by `change`.
    pub(crate) async fn open_apart(
        &self,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<PgConnection, sqlx::Error> {
        self.log_in_by(|options| login_thread::dial(change(options)))
            .await
    }

    /// Whether the node lets `pair` in. The connection is closed again.
    pub(crate) async fn try_login(&self, pair: &Pair) -> Result<(), sqlx::Error> {
        self.connect(&pair.sign(&self.door.options)).await.map(drop)
    }

    pub(super) async fn log_in(&self, pass: Pass) -> Result<Connection, LoginError> {
        let begun = Instant::now();
        let cut = pass.cut().clone();
        let login = async {
            let mut tried = 1;
            loop {
                match self.try_sealed().await {
                    // The next try waits until the keeper found out what works.
                    Err(error) if refuses(&error.0) && tried < TRIES => tried += 1,
                    result => return result,
                }
            }
        };
        let (link, seal) = tokio::select! {
            biased;
            reason = cut.made() => {
                let cut = std::io::Error::other(format!("the node was cut: {reason}"));
                Err(LoginError::from(sqlx::Error::from(cut)))
            }
            result = login => result,
        }?;
        self.occupancy.opened(begun.elapsed());
        Ok(Connection::new(link, pass.sealed(seal), &self.open))
    }

    /// One login with the credentials in use.
    async fn try_sealed(&self) -> Result<(PgConnection, Seal), LoginError> {
        let (options, seal) = self
            .door
            .credentials
            .admission(self.door.node, &self.door.options)
            .await?;
        match self.connect(&options).await {
            Ok(link) => {
                self.door.credentials.accepted(self.door.node, &seal);
                Ok((link, seal))
            }
            Err(error) => {
                let error = Arc::new(error);
                if refuses(&error) {
                    self.door.credentials.refused(self.door.node, &seal, &error);
                }
                Err(LoginError(error))
            }
        }
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        self.door.address.connect(options, self.budget).await
    }
}
