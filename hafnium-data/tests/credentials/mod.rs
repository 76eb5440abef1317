//! A service whose user and password come from a source that the test rules, and what its servers say of who is
//! logged in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::component::BoxFuture;
use hafnium_core::config::{Loader, Sources};
use hafnium_core::secret::{
    Address, FetchError, FetchErrorKind, Fetched, Material, Provider, Secret, Secrets, SecretsSettings,
    Version,
};
use hafnium_core::{Component, Context, Deadline};
use hafnium_data::postgres::{Postgres, PostgresSection};
use hafnium_testkit::postgres::PostgresCluster;
use tokio::time::Instant;

/// Where the service finds its password, and user and password together.
pub(crate) const PASSWORD: &str = "vault:kv/ledger#password";
pub(crate) const LOGIN: &str = "vault-db:ledger";
/// What the servers show of the service's connections.
const APPLICATION: &str = "risk-engine-of-this-test";

/// Answers references from memory.
pub(crate) struct Source {
    answers: Mutex<BTreeMap<String, (Material, String)>>,
    asked: AtomicUsize,
    /// How soon it is asked again without need.
    refresh_after: Duration,
}

impl Source {
    pub(crate) fn new(refresh_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            asked: AtomicUsize::new(0),
            refresh_after,
        })
    }

    pub(crate) fn gives(&self, reference: &str, material: Material, version: &str) {
        let answer = (material, version.to_owned());
        self.answers.lock().unwrap().insert(reference.to_owned(), answer);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) fn text(text: &str) -> Material {
    Material::Text(text.into())
}

pub(crate) fn login(user: &str, password: &str) -> Material {
    Material::Login {
        user: user.to_owned(),
        password: password.into(),
    }
}

impl Provider for Source {
    fn schemes(&self) -> &'static [&'static str] {
        &["vault", "vault-db"]
    }

    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        _: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = self.answers.lock().unwrap().get(&address.to_string()).cloned();
            let (material, version) = answer.ok_or_else(|| FetchError {
                kind: FetchErrorKind::Missing,
                message: format!("{address}: nothing there"),
            })?;
            Ok(Fetched {
                material,
                version: Version(version),
                refresh_after: Some(self.refresh_after),
                expires_after: None,
                changed: None,
            })
        })
    }

    fn release(&self, _: Deadline) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A service with the database `ledger`, whose secrets a store follows.
pub(crate) struct Service {
    pub(crate) cx: Context,
    pub(crate) secrets: Secrets,
    pub(crate) postgres: Postgres,
    password: Option<Secret>,
}

impl Service {
    /// With the URL of `cluster` without user and password but for `user`, and `keys` below `postgres.ledger`.
    pub(crate) async fn start(
        cluster: &PostgresCluster,
        source: Arc<dyn Provider>,
        user: Option<&str>,
        keys: &[(&str, &str)],
    ) -> Service {
        let hosts: Vec<_> = (0..cluster.len())
            .map(|node| format!("{}:{}", cluster.host(node), cluster.port(node)))
            .collect();
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let url = format!("postgres://{user}{}/ledger", hosts.join(","));
        let mut sources = Sources::none();
        for (key, value) in [("url", url.as_str()), ("application_name", APPLICATION)]
            .iter()
            .chain(keys)
        {
            let name = format!("HAFNIUM__POSTGRES__LEDGER__{}", key.to_uppercase());
            sources = sources.variable(name, *value);
        }
        let config = Loader::new("risk-engine")
            .named::<PostgresSection>("ledger")
            .section::<SecretsSettings>()
            .sources(sources)
            .load()
            .unwrap();
        let secrets = Secrets::new(config.get::<SecretsSettings>().unwrap(), vec![source]);
        let soon = Deadline::after(Duration::from_secs(10));
        secrets.open(&config, soon).await.unwrap();
        let cx = Context::standalone();
        secrets.follow(&cx);
        let settings = config.named::<PostgresSection>("ledger").unwrap();
        let password = settings.password.clone();
        let postgres = Postgres::new("ledger", settings, &cx).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = postgres.start(&cx).await {
            assert!(Instant::now() < end, "{error}");
        }
        Service {
            cx,
            secrets,
            postgres,
            password,
        }
    }

    /// Has the password asked for again, as a consumer does when it was refused.
    pub(crate) async fn refresh(&self) {
        let password = self.password.as_ref().unwrap();
        let soon = Deadline::after(Duration::from_secs(10));
        password.refresh(soon).await.unwrap();
    }

    /// What the page of dependencies says of the database, besides its nodes.
    pub(crate) fn trouble(&self) -> Option<String> {
        let report = self.cx.topology().report();
        report.into_iter().find_map(|one| one.view.trouble)
    }
}

/// A connection of the service as a server sees it.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) user: String,
    /// Seconds since 1970, by the clock of this machine.
    pub(crate) begun: f64,
}

/// The service's connections at `node`, the probe's included.
pub(crate) async fn backends(cluster: &PostgresCluster, node: usize) -> Vec<Backend> {
    let session = cluster.connect(node, "postgres").await.unwrap();
    let rows = session
        .query(
            "SELECT usename::text, extract(epoch FROM backend_start)::float8 FROM pg_stat_activity \
             WHERE application_name = $1",
            &[&APPLICATION],
        )
        .await
        .unwrap();
    rows.iter()
        .map(|row| Backend {
            user: row.get(0),
            begun: row.get(1),
        })
        .collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// Waits until every connection of the service at every node is one that `moved` says yes to.
pub(crate) async fn all_moved(cluster: &PostgresCluster, moved: impl Fn(&Backend) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut stayed = Vec::new();
        for node in 0..cluster.len() {
            let all = backends(cluster, node).await;
            if all.is_empty() {
                stayed.push(format!("no connection at {}", cluster.name(node)));
            }
            stayed.extend(
                all.iter()
                    .filter(|one| !moved(one))
                    .map(|one| format!("{one:?} at {}", cluster.name(node))),
            );
        }
        if stayed.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "did not move: {stayed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many logins a server has refused for their password, by its own log.
pub(crate) async fn refusals(cluster: &PostgresCluster, node: usize) -> usize {
    let session = cluster.connect(node, "postgres").await.unwrap();
    let row = session
        .query_one("SELECT pg_read_file('/proc/self/fd/2')", &[])
        .await
        .unwrap();
    row.get::<_, String>(0)
        .matches("FATAL:  password authentication failed")
        .count()
}

/// The server's answer to a login, over a connection of another driver.
pub(crate) async fn refused(cluster: &PostgresCluster, user: &str, password: &str) -> Option<String> {
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host(cluster.host(cluster.primary()))
        .port(cluster.port(cluster.primary()))
        .database("ledger")
        .username(user)
        .password(password);
    let answer = sqlx::ConnectOptions::connect(&options).await;
    answer.err().map(|error| error.to_string())
}
