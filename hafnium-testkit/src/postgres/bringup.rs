//! From nothing to a primary with streaming standbys.

use std::sync::RwLock;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::builder::{Builder, Synchronous};
use super::cluster::{Credential, PostgresCluster};
use super::installation::Installation;
use super::node::Node;
use super::settings::{PG_HBA_CONF, POSTGRESQL_CONF, SUPERUSER, conninfo, password, standby_conf};
use crate::Error;
use crate::process::{Keeper, await_ready, free_ports};

/// The application's role and the database it owns from the start.
const APP: &str = "app";

/// Upper bound of each step; on an idle machine all steps together take about two seconds.
pub(super) const STEP: Duration = Duration::from_secs(30);

impl PostgresCluster {
    pub(super) async fn bring_up(builder: Builder) -> Result<PostgresCluster, Error> {
        let installation = Installation::find()?;
        let keeper = Keeper::new("pg")?;
        let nodes = free_ports(builder.standbys + 1)?
            .into_iter()
            .enumerate()
            .map(|(index, port)| Node::new(index, port, &keeper, &installation))
            .collect();
        let cluster = PostgresCluster {
            nodes,
            keeper,
            synchronous: builder.synchronous,
            superuser_password: password(),
            app: RwLock::new(Credential {
                user: APP.into(),
                password: password(),
            }),
            primary: AtomicUsize::new(0),
        };
        cluster.initialise().await?;
        cluster.start(0).await?;
        cluster.create_app().await?;
        try_join_all((1..cluster.len()).map(|node| cluster.clone_primary(node))).await?;
        cluster.await_streaming(&cluster.standbys()).await?;
        if cluster.synchronous == Synchronous::AnyOne {
            cluster.await_any_one(&cluster.standbys()).await?;
        }
        Ok(cluster)
    }

    async fn initialise(&self) -> Result<(), Error> {
        let node = &self.nodes[0];
        self.keeper
            .write("superuser.password", &self.superuser_password)?;
        let password_file = self.keeper.directory().join("superuser.password");
        let (data, password_file) = (node.data.to_string_lossy(), password_file.to_string_lossy());
        let arguments = [
            "-D",
            &data,
            "-U",
            SUPERUSER,
            "--auth=scram-sha-256",
            "--pwfile",
            &password_file,
        ];
        let arguments = [&arguments[..], &["--no-sync", "--locale=C", "-E", "UTF8"]].concat();
        node.run("initdb", &arguments, STEP).await?;
        node.write("postgresql.conf", POSTGRESQL_CONF)?;
        node.write("pg_hba.conf", PG_HBA_CONF)
    }

    async fn create_app(&self) -> Result<(), Error> {
        let Credential { user, password } = self.credential();
        let session = self.connect(0, "postgres").await?;
        session
            .run(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'"))
            .await?;
        session
            .run(&format!("CREATE DATABASE {APP} OWNER {user}"))
            .await?;
        session
            .run("CREATE TABLE hafnium_probe (at timestamptz NOT NULL DEFAULT clock_timestamp())")
            .await
    }

    /// Makes a node a standby of the primary from a new base backup.
    pub(super) async fn clone_primary(&self, node: usize) -> Result<(), Error> {
        let this = &self.nodes[node];
        if this.data.exists() {
            let doing = format!("empty {}", this.data.display());
            tokio::fs::remove_dir_all(&this.data)
                .await
                .map_err(Error::io(doing))?;
        }
        let data = this.data.to_string_lossy();
        let source = self.conninfo_for(node, self.primary());
        let arguments = [
            "-d",
            &source,
            "-D",
            &data,
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        this.run("pg_basebackup", &arguments, STEP).await?;
        self.make_standby(node, self.primary())?;
        self.start(node).await
    }

    /// Writes what makes `node` a standby of `primary` at its next start.
    pub(super) fn make_standby(&self, node: usize, primary: usize) -> Result<(), Error> {
        // Written anew, not appended to: a copy of the primary's holds its synchronous_standby_names, and a standby
        // that waits for itself after its promotion never acknowledges anything.
        self.nodes[node].write(
            "postgresql.auto.conf",
            &standby_conf(&self.conninfo_for(node, primary)),
        )?;
        self.nodes[node].write("standby.signal", "")
    }

    pub(super) fn conninfo_for(&self, node: usize, primary: usize) -> String {
        conninfo(self.port(primary), &self.superuser_password, self.name(node))
    }

    /// Starts a node on the data it has, in the role it had, and waits until it answers queries.
    ///
    /// # Errors
    /// [`Error::Refused`] when it runs; [`Error::Ended`] and [`Error::NotReady`] with its log.
    pub async fn start(&self, node: usize) -> Result<(), Error> {
        let process = self.nodes[node].launch()?;
        let what = format!("{} to answer a query", self.name(node));
        await_ready(&[&process], &what, STEP, async || {
            let session = self
                .connect(node, "postgres")
                .await
                .map_err(|error| error.to_string())?;
            session
                .value::<i32>("SELECT 1")
                .await
                .map_err(|error| error.to_string())
        })
        .await
        .map(|_| ())
    }
}
