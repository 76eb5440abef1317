//! Servers that are a test's own, to be broken.

use super::Place;
use super::database::name;
use crate::Error;
use crate::postgres::{Frozen, Killed, PostgresCluster, Promotion, Session, Synchronous, Thawed};

/// A database in a primary and a synchronous standby that are the test's own. Each fault returns its proof.
#[derive(Debug)]
pub struct Breakable {
    database: String,
    cluster: PostgresCluster,
}

impl Breakable {
    /// How to reach the database: a URL with every node.
    pub fn url(&self) -> String {
        self.cluster.url(&self.database)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A session of the raw driver on the primary, to look past the code under test.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn session(&self) -> Result<Session, Error> {
        self.cluster.connect(self.cluster.primary(), &self.database).await
    }

    /// Kills the primary and every backend of it with SIGKILL.
    ///
    /// # Errors
    /// [`Error::Unproven`].
    pub async fn kill9_primary(&self) -> Result<Killed, Error> {
        self.cluster.kill9(self.cluster.primary()).await
    }

    /// Stops the primary with SIGSTOP: it accepts connections and answers nothing.
    ///
    /// # Errors
    /// [`Error::Unproven`].
    pub fn freeze_primary(&self) -> Result<Frozen, Error> {
        self.cluster.freeze(self.cluster.primary())
    }

    /// Lets a frozen node go on, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Unproven`].
    pub async fn thaw(&self, node: usize) -> Result<Thawed, Error> {
        self.cluster.thaw(node).await
    }

    /// Makes the standby the primary.
    ///
    /// # Errors
    /// [`Error::Unproven`], and when there is no standby left.
    pub async fn promote(&self) -> Result<Promotion, Error> {
        self.cluster.promote_best().await
    }

    /// The servers themselves, with every fault they know.
    pub fn cluster(&self) -> &PostgresCluster {
        &self.cluster
    }
}

impl Place for Breakable {
    async fn begin(test: &str) -> Result<Self, Error> {
        let cluster = PostgresCluster::builder()
            .standbys(1)
            .synchronous(Synchronous::AnyOne)
            .start()
            .await?;
        let database = name(test);
        cluster.create_database(&database).await?;
        Ok(Self { database, cluster })
    }

    /// The servers go, and the database with them.
    async fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
