//! One `redis-server` process on loopback.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

use super::connection::{SILENT, ask, open};
use super::identity::Identity;
use crate::Error;
use crate::process::{Keeper, Launch, Process, ProcessId, ProcessState, await_ready, free_ports};

/// A server needs some 50 ms to answer; a machine under load gets the rest.
const START: Duration = Duration::from_secs(10);

/// A data node or a sentinel. Dropping it kills the process.
pub struct RedisServer {
    pub(super) name: String,
    pub(super) port: u16,
    password: Option<String>,
    kind: Kind,
    keeper: Keeper,
    process: Mutex<Arc<Process>>,
}

/// What is written into the configuration file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Data { master: Option<u16> },
    Sentinel { master: u16 },
}

impl RedisServer {
    /// One server with a password, without persistence. Ready when it answers: 0.1 s.
    ///
    /// # Errors
    /// [`Error::Missing`] without `redis-server`, and those of the start.
    pub async fn start() -> Result<RedisServer, Error> {
        let keeper = Keeper::new("redis")?;
        let port = free_ports(1)?.first().copied().unwrap_or_default();
        let server = RedisServer::spawn(&keeper, "redis", port, &password(), Kind::Data { master: None })?;
        server.await_answer().await?;
        Ok(server)
    }

    /// Starts the process and waits for nothing.
    pub(super) fn spawn(
        keeper: &Keeper,
        name: &str,
        port: u16,
        password: &str,
        kind: Kind,
    ) -> Result<RedisServer, Error> {
        installed()?;
        let process = launch(keeper, name, port, password, kind)?;
        Ok(RedisServer {
            name: name.to_owned(),
            port,
            // Sentinels ask for none: their address alone is what a client is given.
            password: matches!(kind, Kind::Data { .. }).then(|| password.to_owned()),
            kind,
            keeper: keeper.clone(),
            process: Mutex::new(Arc::new(process)),
        })
    }

    /// The name it has in its cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `127.0.0.1:port`, the same over restarts.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://:password@127.0.0.1:port/0`.
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{}/0", self.address()),
            None => format!("redis://{}/0", self.address()),
        }
    }

    /// Number and start time of the process.
    pub fn process_id(&self) -> ProcessId {
        self.process().id()
    }

    /// State of the process.
    pub fn state(&self) -> ProcessState {
        self.process().state()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process().log_tail()
    }

    /// A plain connection of the `redis` crate, logged in, without a response limit.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let refused = |answer: String| Error::refused(format!("log in to {}", self.address()), answer);
        tokio::time::timeout(SILENT, open(self.port, self.password.as_deref()))
            .await
            .map_err(|_| refused("silence".into()))?
            .map_err(|error| refused(error.to_string()))
    }

    /// What it says of itself now; half a second of silence is an error.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn identity(&self) -> Result<Identity, Error> {
        self.look()
            .await
            .map_err(|error| Error::refused("ask for INFO", error))
    }

    /// Starts it again after [`kill9`](Self::kill9), empty and as the master or standalone server; ready when it answers.
    /// Under sentinels use [`RedisSentinel::restart_as_replica`](super::RedisSentinel::restart_as_replica).
    ///
    /// # Errors
    /// [`Error::Refused`] while it runs, and those of the start.
    pub async fn restart(&self) -> Result<Identity, Error> {
        self.start_again(match self.kind {
            Kind::Data { .. } => Kind::Data { master: None },
            sentinel => sentinel,
        })?;
        self.await_answer().await
    }

    pub(super) fn start_again(&self, kind: Kind) -> Result<(), Error> {
        if self.state() != ProcessState::Gone {
            return Err(Error::refused(
                format!("start {} again", self.name),
                "it still runs",
            ));
        }
        let password = self.password.as_deref().unwrap_or_default();
        let process = launch(&self.keeper, &self.name, self.port, password, kind)?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(process);
        Ok(())
    }

    pub(super) async fn await_answer(&self) -> Result<Identity, Error> {
        let what = format!("{} to answer INFO", self.name);
        await_ready(&[&self.process()], &what, START, || self.look()).await
    }

    pub(super) async fn look(&self) -> Result<Identity, String> {
        let info: String = self.ask(&["INFO"]).await?;
        Identity::parse(self.address(), &info)
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, String> {
        ask(self.port, self.password.as_deref(), words).await
    }

    pub(super) fn process(&self) -> Arc<Process> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("name", &self.name)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A password for one cluster.
pub(super) fn password() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn installed() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join("redis-server").is_file()) {
        return Ok(());
    }
    Err(Error::Missing {
        what: "redis-server".into(),
        hint: "apt-get install redis-server (or run scripts/setup)".into(),
    })
}

fn launch(keeper: &Keeper, name: &str, port: u16, password: &str, kind: Kind) -> Result<Process, Error> {
    let directory = keeper.create_dir(name)?;
    let file = format!("{name}.conf");
    let mut launch = Launch::new(name, "redis-server").arg(keeper.directory().join(&file));
    let common = format!(
        "port {port}\nbind 127.0.0.1\ndaemonize no\ndir {}\n",
        directory.display()
    );
    match kind {
        Kind::Data { master } => keeper.write(&file, &(common + &data_settings(password, master)))?,
        Kind::Sentinel { master } => {
            launch = launch.arg("--sentinel");
            // A sentinel writes what it learned and voted into its file, and shall find it again.
            if !keeper.directory().join(&file).exists() {
                keeper.write(&file, &(common + &sentinel_settings(password, master)))?;
            }
        }
    }
    keeper.spawn(&launch)
}

/// No persistence: what is proven here is failover, not disks. The replication settings bring a new link up at once and let
/// a dead one be noticed.
fn data_settings(password: &str, master: Option<u16>) -> String {
    let follow = master.map_or_else(String::new, |port| format!("replicaof 127.0.0.1 {port}\n"));
    format!(
        "requirepass {password}\nmasterauth {password}\nsave \"\"\nappendonly no\nrepl-diskless-sync yes\n\
         repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nrepl-timeout 5\n{follow}"
    )
}

fn sentinel_settings(password: &str, master: u16) -> String {
    format!(
        "sentinel monitor mymaster 127.0.0.1 {master} 2\nsentinel auth-pass mymaster {password}\n\
         sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 3000\n\
         sentinel parallel-syncs mymaster 2\n"
    )
}
