//! A real pgbouncer in transaction mode between a client and one node of a [`PostgresCluster`].
//!
//! SCRAM on both sides: it looks up the application's secret by `auth_query`, and logs in to the server with what the
//! client's login proved. The installed program runs as a child process, a newer one in a container.

mod builder;
#[cfg(feature = "dev-services")]
mod container;
mod settings;

use std::time::Duration;

use tokio_postgres::{Config, SimpleQueryMessage};

pub use builder::Builder;

use crate::Error;
use crate::postgres::{PostgresCluster, Session};
use crate::process::Process;

/// A running pgbouncer. Dropping it ends it.
pub struct PgBouncer {
    port: u16,
    server: Server,
    admin: Config,
}

/// What keeps it running.
enum Server {
    Installed(Process),
    #[cfg(feature = "dev-services")]
    Contained {
        _container: Box<container::Contained>,
    },
}

/// How long a login or an answer of it may take.
const ANSWER: Duration = Duration::from_secs(2);

impl PgBouncer {
    /// Describes one before `node` of `cluster`: a pool of one connection per database and user.
    pub fn before(cluster: &PostgresCluster, node: usize) -> Builder {
        Builder::new(cluster, node)
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `url` with its address in place of the hosts.
    pub fn url(&self, url: &str) -> String {
        let after_login = url.find('@').map_or(0, |at| at + 1);
        let path = url[after_login..]
            .find('/')
            .map_or(url.len(), |slash| after_login + slash);
        format!("{}127.0.0.1:{}{}", &url[..after_login], self.port, &url[path..])
    }

    /// Major and minor version, as it says itself.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn version(&self) -> Result<(u32, u32), Error> {
        let said = self
            .show("VERSION")
            .await?
            .into_iter()
            .flatten()
            .next()
            .unwrap_or_default();
        settings::version(&said).ok_or_else(|| Error::refused("read the version of pgbouncer", said))
    }

    /// The rows that its console answers to `SHOW <what>`, each with the values of its columns.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn show(&self, what: &str) -> Result<Vec<Vec<String>>, Error> {
        let refused = |answer: String| Error::refused(format!("ask pgbouncer to SHOW {what}"), answer);
        let session = Session::open(&self.admin, ANSWER).await?;
        let question = format!("SHOW {what}");
        let messages = tokio::time::timeout(ANSWER, session.simple_query(&question))
            .await
            .map_err(|_| refused("silence".into()))?
            .map_err(|error| refused(error.to_string()))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).unwrap_or_default().to_owned())
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The last lines of its log; empty for one in a container.
    pub fn log_tail(&self) -> String {
        match &self.server {
            Server::Installed(process) => process.log_tail(),
            #[cfg(feature = "dev-services")]
            Server::Contained { .. } => String::new(),
        }
    }
}

impl std::fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgBouncer")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
