//! Servers behind proxies at addresses of their own, and the name that leads to one of them.

pub(crate) mod moving;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Context, StartError};
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::Proxy;
use hafnium_testkit::dns::NameServer;
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::process::free_ports;

/// The name of the database.
pub(crate) const NAME: &str = "ledger.example";
/// Where it leads at first, and later.
pub(crate) const OLD: &str = "127.0.0.2";
pub(crate) const NEW: &str = "127.0.0.5";

pub(crate) struct Rig {
    pub(crate) cluster: PostgresCluster,
    pub(crate) names: NameServer,
    /// Before the first node, at [`OLD`].
    pub(crate) old: Proxy,
    port: u16,
    parameters: String,
}

impl Rig {
    pub(crate) async fn single(parameters: &str, ttl: Duration) -> Rig {
        Rig::of(0, parameters, ttl).await
    }

    pub(crate) async fn trio(parameters: &str, ttl: Duration) -> Rig {
        Rig::of(2, parameters, ttl).await
    }

    async fn of(standbys: usize, parameters: &str, ttl: Duration) -> Rig {
        let cluster = PostgresCluster::builder()
            .standbys(standbys)
            .start()
            .await
            .unwrap();
        cluster.create_database("ledger").await.unwrap();
        let session = cluster.connect(0, "ledger").await.unwrap();
        session
            .batch_execute("CREATE TABLE t (id int); GRANT ALL ON t TO PUBLIC")
            .await
            .unwrap();
        cluster.await_replay().await.unwrap();
        let port = free_ports(1).unwrap()[0];
        let old = Proxy::start_at(SocketAddr::new(address(OLD), port), server(&cluster, 0)).unwrap();
        let names = NameServer::start().unwrap();
        names.set(NAME, [address(OLD)], ttl);
        Rig {
            cluster,
            names,
            old,
            port,
            parameters: parameters.into(),
        }
    }

    /// A proxy before a node, at an address of its own.
    pub(crate) fn proxy(&self, at: &str, node: usize) -> Proxy {
        Proxy::start_at(self.at(at), self.server(node)).unwrap()
    }

    /// Where the name leads to when its address is `text`.
    pub(crate) fn at(&self, text: &str) -> SocketAddr {
        SocketAddr::new(address(text), self.port)
    }

    /// Where a node listens.
    pub(crate) fn server(&self, node: usize) -> SocketAddr {
        server(&self.cluster, node)
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        let (user, password) = (self.cluster.user(), self.cluster.password());
        let (port, parameters) = (self.port, &self.parameters);
        let url = format!("postgres://{user}:{password}@{NAME}:{port}/ledger?{parameters}");
        let mut settings = PostgresSettings::new(Secret::new(url));
        settings.resolver = vec![self.names.address().to_string()];
        // Longer than an operator takes on a busy machine, so that what fails did not fail for want of time.
        settings.timeout = Duration::from_secs(15).into();
        settings.connect_timeout = Duration::from_secs(5).into();
        settings
    }

    pub(crate) async fn connect(&self) -> Postgres {
        Postgres::connect(self.settings(), &dev()).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, limit: Duration) -> Result<Postgres, StartError> {
        let mut settings = self.settings();
        settings.timeout = limit.into();
        Postgres::connect(settings, &dev()).await
    }
}

fn server(cluster: &PostgresCluster, node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster.port(node)))
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn dev() -> Context {
    Context::standalone()
}

/// The port of the server that serves the handle.
pub(crate) async fn server_of(postgres: &Postgres) -> u16 {
    let view = postgres.within(Duration::from_secs(10)).idempotent();
    let port: i32 = sqlx::query_scalar("SELECT inet_server_port()")
        .fetch_one(&view)
        .await
        .unwrap();
    u16::try_from(port).unwrap()
}
