//! The server that the tests of a binary share.

use tokio::sync::OnceCell;

use super::Place;
use super::database::{drop_database, name};
use crate::Error;
use crate::postgres::{PostgresCluster, Session};

/// Its processes hang on threads of their own, not on the runtime of the test that happened to be the first.
static SERVER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// A database of the test's own, in a server that the tests of the binary share.
#[derive(Debug)]
pub struct Sandbox {
    database: String,
    server: &'static PostgresCluster,
}

impl Sandbox {
    /// How to reach the database, as a role that owns it and nothing else.
    pub fn url(&self) -> String {
        self.server.url(&self.database)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A session of the raw driver, to look past the code under test.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn session(&self) -> Result<Session, Error> {
        self.server.connect(self.server.primary(), &self.database).await
    }
}

impl Place for Sandbox {
    async fn begin(test: &str) -> Result<Self, Error> {
        let server = SERVER.get_or_try_init(PostgresCluster::single).await?;
        let database = name(test);
        server.create_database(&database).await?;
        Ok(Self { database, server })
    }

    async fn end(self) -> Result<(), Error> {
        drop_database(self.server, &self.database).await
    }
}
