//! Topology sources: what Patroni says is a hint, and never more.
//!
//! The servers are real. Patroni is a scripted peer that answers `GET /cluster` with the documents of its reference: a
//! real one needs a store of its own beside it (etcd, Consul or its own Raft), and could not be made to lie, to fall
//! silent or to be late at will.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;
mod told;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use hafnium_core::secret::Secret;
use hafnium_core::{BoxFuture, Context, StartError};
use hafnium_data::postgres::{Member, MemberRole, Postgres, PostgresSettings, SourceError, TopologySource};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use recorded::Recorded;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(30);

/// What the library tells, of all tests: there is one listener per process.
fn told() -> &'static told::Told {
    static TOLD: OnceLock<told::Told> = OnceLock::new();
    TOLD.get_or_init(told::listen)
}

/// A scripted REST API.
struct Peer {
    address: SocketAddr,
    answer: Arc<Mutex<(StatusCode, String)>>,
    /// The authorization of each question.
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Peer {
    async fn start() -> Peer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answer = Arc::new(Mutex::new((StatusCode::OK, r#"{"members": []}"#.to_owned())));
        let asked: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let peer = Peer {
            address: listener.local_addr().unwrap(),
            answer: answer.clone(),
            asked: asked.clone(),
        };
        let cluster = move |headers: HeaderMap| async move {
            let login = headers
                .get("authorization")
                .map(|login| login.to_str().unwrap().to_owned());
            asked.lock().unwrap().push(login);
            answer.lock().unwrap().clone()
        };
        let router = Router::new().route("/cluster", get(cluster));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        peer
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn says(&self, status: StatusCode, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Waits until it was asked and its answer was taken in.
    async fn heard(&self) {
        let before = self.asked();
        until("it was asked twice", || self.asked() > before + 1).await;
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The document of a cluster whose leader is the node `leader`, as Patroni 4 writes it, with `more` members.
fn document(cluster: &PostgresCluster, leader: usize, more: &str) -> String {
    let member = |node: usize| {
        let (role, state, lag) = match node == leader {
            true => ("leader", "running", ""),
            false => ("replica", "streaming", r#", "lag": 0"#),
        };
        let port = cluster.port(node);
        format!(
            r#"{{"name": "pg-{node}", "role": "{role}", "state": "{state}",
                "api_url": "http://127.0.0.1:8008/patroni", "host": "127.0.0.1", "port": {port},
                "timeline": 1, "tags": {{"clonefrom": true}}{lag}}}"#
        )
    };
    let members: Vec<_> = (0..cluster.len()).map(member).collect();
    format!(
        r#"{{"members": [{}{more}], "scope": "demo"}}"#,
        members.join(", ")
    )
}

async fn trio() -> PostgresCluster {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    cluster.create_database("ledger").await.unwrap();
    cluster
}

async fn connect(cluster: &PostgresCluster, urls: Vec<String>, cx: &Context) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(cluster.url("ledger")));
    settings.timeout = LONG.into();
    settings.patroni.urls = urls;
    Postgres::connect(settings, cx).await.unwrap()
}

async fn port(postgres: &Postgres) -> u16 {
    let port: i32 = sqlx::query_scalar("SELECT inet_server_port() FROM pg_current_xact_id()")
        .fetch_one(&postgres.idempotent())
        .await
        .unwrap();
    u16::try_from(port).unwrap()
}

/// How many questions the probe of a node asks in a second, at least.
async fn questions(cluster: &PostgresCluster, node: usize) -> usize {
    let session = cluster.connect(node, "postgres").await.unwrap();
    let begun = "SELECT query_start::text FROM pg_stat_activity \
        WHERE query LIKE 'SELECT pg_is_in_recovery(), %' AND pid <> pg_backend_pid()";
    let end = Instant::now() + Duration::from_secs(1);
    let mut seen = BTreeSet::new();
    while Instant::now() < end {
        for row in session.query(begun, &[]).await.unwrap() {
            seen.insert(row.get::<_, String>(0));
        }
    }
    seen.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_patroni_names_is_asked_more_often_for_a_while_and_is_no_primary_by_that() {
    let told = told();
    let (cluster, peer) = (trio().await, Peer::start().await);
    peer.says(StatusCode::OK, document(&cluster, 0, ""));
    let postgres = connect(&cluster, vec![peer.url()], &Context::standalone()).await;
    peer.heard().await;
    let calm = questions(&cluster, 1).await;
    assert!(calm <= 6, "{calm} questions in a second");

    peer.says(StatusCode::OK, document(&cluster, 1, ""));
    peer.heard().await;
    let eager = questions(&cluster, 1).await;
    println!("{calm} questions a second, {eager} when it is expected to become the primary");
    assert!(eager >= 20, "{eager} questions in a second");
    assert!(told.contains("expected to become the primary", i32::from(cluster.port(1))));
    // It is a lie, and goes on.
    let end = Instant::now() + Duration::from_secs(11);
    while Instant::now() < end {
        assert_eq!(port(&postgres).await, cluster.port(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let calm = questions(&cluster, 1).await;
    assert!(calm <= 6, "{calm} questions in a second");

    // What the nodes say counts, whatever is said of them.
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote(2).await.unwrap());
    assert_eq!(port(&postgres).await, cluster.port(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_the_url_does_not_name_are_told_and_shown() {
    let told = told();
    let (cluster, peer) = (trio().await, Peer::start().await);
    let more = r#", {"name": "pg-9", "role": "sync_standby", "state": "streaming", "host": "10.9.9.9", "port": 5439,
        "timeline": 3, "lag": 16}, {"name": "pg-10", "role": "replica", "state": "creating replica", "lag": "unknown"}"#;
    peer.says(StatusCode::OK, document(&cluster, 0, more));
    let cx = Context::standalone();
    let _postgres = connect(&cluster, vec![peer.url()], &cx).await;
    peer.heard().await;
    assert!(told.contains("the url does not name these members", 5439));
    let shown = || cx.topology().report().remove(0).view.nodes;
    assert_eq!(shown().len(), 4);
    assert_eq!(shown()[3].address, "10.9.9.9:5439");
    assert_eq!(
        shown()[3].detail.as_deref(),
        Some("replica on timeline 3, 16 bytes behind, says patroni; the url does not name it")
    );
    peer.says(StatusCode::OK, document(&cluster, 0, ""));
    peer.heard().await;
    assert_eq!(shown().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_changes_nothing_but_a_metric_and_a_line_in_the_log() {
    let told = told();
    let recorded = Recorded::new();
    let (cluster, peer) = (trio().await, Peer::start().await);
    // Refuses; takes connections and stays silent.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    peer.says(StatusCode::OK, document(&cluster, 0, ""));
    let urls = vec!["http://127.0.0.1:1".to_owned(), silent, peer.url()];
    let postgres = connect(&cluster, urls, &recorded.context()).await;
    let asked = |result: &str| {
        let labels = [&*format!("result=\"{result}\""), "source=\"patroni\""];
        let value = recorded.value_with("hafnium_postgres_topology_asked_total", &labels);
        value.map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    until("the one that answers is found", || asked("answered") > 1.0).await;
    for (status, body) in [
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, r#"{"members": [{"role": 1}]}"#.to_owned()),
        (StatusCode::SERVICE_UNAVAILABLE, document(&cluster, 1, "")),
        (StatusCode::OK, " ".repeat(2 << 20)),
    ] {
        peer.says(status, body);
        let failed = asked("failed");
        until("it fails", || asked("failed") > failed + 1.0).await;
        assert_eq!(port(&postgres).await, cluster.port(0));
        assert!(postgres.nodes().iter().all(|node| node.state == "up"));
    }
    assert!(told.says("the topology source does not answer"));
    peer.says(StatusCode::OK, document(&cluster, 0, ""));
    let answered = asked("answered");
    until("it answers again", || asked("answered") > answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_login_is_sent_and_what_can_not_work_is_an_error_of_the_configuration() {
    let (cluster, peer) = (PostgresCluster::single().await.unwrap(), Peer::start().await);
    let url = cluster.create_database("ledger").await.unwrap();
    let settings = |url: &str| {
        let mut settings = PostgresSettings::new(Secret::new(url));
        settings.patroni.urls = vec![peer.url()];
        settings.patroni.user = Some("app".to_owned());
        settings.patroni.password = Some(Secret::new("s3cret"));
        settings
    };
    let _postgres = Postgres::connect(settings(&url), &Context::standalone())
        .await
        .unwrap();
    peer.heard().await;
    assert_eq!(
        peer.asked.lock().unwrap()[0].as_deref(),
        Some("Basic YXBwOnMzY3JldA==")
    );

    let refused = |change: &dyn Fn(&mut PostgresSettings), key: &str| {
        let mut settings = settings(&url);
        change(&mut settings);
        let error = Postgres::new("ledger", settings, &Context::standalone()).unwrap_err();
        assert!(matches!(error, StartError::Configuration { .. }), "{error:?}");
        assert!(error.to_string().contains(key), "{error}");
    };
    refused(&|settings| settings.patroni.user = None, "patroni.user");
    refused(
        &|settings| settings.patroni.urls.push("ftp://pg-0".to_owned()),
        "patroni.urls",
    );
}

/// One that never answers.
struct Stuck(Arc<Mutex<u32>>);

struct GivenUp(Arc<Mutex<u32>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl TopologySource for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, SourceError>> {
        let given_up = GivenUp(self.0.clone());
        Box::pin(async move {
            let _given_up = given_up;
            std::future::pending().await
        })
    }
}

/// One of a team's own.
struct Inventory(Vec<Member>);

impl TopologySource for Inventory {
    fn name(&self) -> &'static str {
        "inventory"
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, SourceError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_a_teams_own_is_consulted_and_given_up_in_time() {
    let told = told();
    let cluster = trio().await;
    let postgres = connect(&cluster, Vec::new(), &Context::standalone()).await;
    let given_up: Arc<Mutex<u32>> = Arc::default();
    postgres.consult(Stuck(given_up.clone()));
    let port = cluster.port(2);
    postgres.consult(Inventory(vec![Member::new(
        "127.0.0.1",
        port,
        MemberRole::Leader,
    )]));
    until("one is given up", || *given_up.lock().unwrap() > 0).await;
    assert!(told.contains("expected to become the primary", i32::from(port)));
    // It ends with the handle: not asked any more, and not waited for.
    drop(postgres);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = *given_up.lock().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(*given_up.lock().unwrap(), ended);
}
