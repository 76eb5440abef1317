//! Logins that a server refuses.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Fault, Outcome, StartError};
use hafnium_data::postgres::{Detail, NodeStatus, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, Session};
use hafnium_testkit::process::ProcessState;
use tokio::time::Instant;

use super::peer::Peer;
use super::place::{Expected, Place, act, shared, unique};
use super::{Case, Made};

const POOLER: &str = "said by poolers and proxies; a server never says it to a client";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "57P03",
            "the server shuts down and takes no more logins",
            "not run",
            "node suspected and probed until it is back; surfaced at the deadline with the reason",
            Made::Server,
            shutting_down,
        ),
        Case::new(
            "08001",
            "in reply to a login",
            "not run",
            "node suspected, another login",
            Made::Peer(POOLER),
            || refused_once("08001"),
        ),
        Case::new(
            "08004",
            "in reply to a login",
            "not run",
            "node suspected, another login",
            Made::Peer(POOLER),
            || refused_once("08004"),
        ),
        Case::new(
            "28P01",
            "the password was changed",
            "not run",
            "surfaced; no other host is tried with it, node left alone",
            Made::Server,
            wrong_password,
        ),
        Case::new(
            "28000",
            "the role must not log in",
            "not run",
            "surfaced; no other host is tried with it, node left alone",
            Made::Server,
            no_login,
        ),
        Case::new(
            "3D000",
            "the database is not there at the start",
            "not run",
            "the start fails as an error of the configuration, with the server's words",
            Made::Server,
            no_database,
        ),
        Case::new(
            "3D000",
            "the database was dropped",
            "not run",
            "surfaced at the deadline with the server's words; asked for with pauses, and used again once it is there",
            Made::Server,
            dropped_database,
        ),
        Case::new(
            "3D000",
            "in reply to a login, while the probe's session goes on",
            "not run",
            "surfaced, node left alone",
            Made::Peer("a server drops no database in which there is a session"),
            database_refused_to_the_pool,
        ),
    ]
}

async fn shutting_down() {
    let cluster = PostgresCluster::single().await.unwrap();
    let place = Place::on(&cluster, "shuttingdown", |_| {}, None).await;
    let (session, pid) = (&place.session, place.pid().await);
    let file = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)";
    let postmaster: String = session.query_one(file, &[]).await.unwrap().get(0);
    // The smart shutdown: sessions go on, logins are refused.
    let sent = Command::new("kill").args(["-TERM", &postmaster]).status();
    assert!(sent.unwrap().success());
    let end = Instant::now() + Duration::from_secs(10);
    while cluster.connect(0, "postgres").await.is_ok() {
        assert!(Instant::now() < end, "logins go on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // All but the probe's session, so that the node is up when a connection is asked for.
    let terminate = "SELECT pg_terminate_backend($1, 2000)";
    session.execute(terminate, &[&pid]).await.unwrap();
    let before = place.counts();
    let view = place.postgres.within(Duration::from_millis(500));
    let error = act(&view, "00000", 0).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::NotRun, "{error}");
    assert!(error.to_string().contains("shutting down"), "{error}");
    let after = place.counts();
    assert_eq!((after.not_run, after.unknown_outcomes), (before.not_run + 1, 0));
    assert!(after.suspected > before.suspected);
    assert_eq!(place.calls().await, 0);

    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    session.batch_execute(terminate).await.unwrap();
    let postgres = place.postgres.clone();
    drop(place);
    let end = Instant::now() + Duration::from_secs(30);
    while cluster.state(0).unwrap() != ProcessState::Gone {
        assert!(Instant::now() < end, "the server does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.start(0).await.unwrap();
    act(&postgres, "00000", 0).await.unwrap();
}

async fn refused_once(state: &'static str) {
    let server = SocketAddr::from(([127, 0, 0, 1], shared().await.port(0)));
    let peer = Peer::before(server).await;
    let place = Place::via(&format!("login{}", state.to_lowercase()), peer.address()).await;
    let pid = place.pid().await;
    let expected = Expected {
        outcome: None,
        // That of the session that was ended; the login is not the caller's.
        retries: 1,
        suspected: true,
        kept: false,
    };
    let (session, peer) = (&place.session, &peer);
    place
        .sees(expected, async |postgres| {
            session
                .execute("SELECT pg_terminate_backend($1, 2000)", &[&pid])
                .await
                .unwrap();
            peer.refuse_login(state);
            act(postgres, "00000", 0).await
        })
        .await
        .unwrap();
    assert!(peer.is_done());
    assert_eq!(place.calls().await, 1);
}

/// A role of the case's own, by which a handle reaches the server over two hosts.
async fn role_on_two_hosts(case: &str) -> ([Proxy; 2], Place, String) {
    let cluster = shared().await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
    let proxies = [Proxy::start(server).unwrap(), Proxy::start(server).unwrap()];
    let role = unique(case);
    let session: Session = cluster.connect(0, "postgres").await.unwrap();
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'first'");
    session.batch_execute(&create).await.unwrap();
    let database = unique(case);
    cluster.create_database(&database).await.unwrap();
    let hosts = proxies
        .each_ref()
        .map(|proxy| proxy.address().to_string())
        .join(",");
    let url = format!("postgres://{role}:first@{hosts}/{database}");
    let place = Place::at(&url, database, session, |_| {}).await;
    (proxies, place, role)
}

/// After `change` a login is refused, with nothing tried at the second host.
async fn refused_for_good(case: &str, change: impl FnOnce(&str) -> String, state: &str) {
    let (proxies, place, role) = role_on_two_hosts(case).await;
    let pid = place.pid().await;
    place.session.batch_execute(&change(&role)).await.unwrap();
    place
        .session
        .execute("SELECT pg_terminate_backend($1, 2000)", &[&pid])
        .await
        .unwrap();
    let (before, accepted) = (place.counts(), proxies[1].counters().accepted);
    let error = sqlx::query("SELECT 1")
        .execute(&place.postgres)
        .await
        .unwrap_err();
    let refused = match detail(&error) {
        Some(Detail::LoginRefused { state, .. }) => state.clone(),
        _ => panic!("{error}"),
    };
    assert_eq!(refused, state);
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    let after = place.counts();
    assert_eq!((after.not_run, after.unknown_outcomes), (before.not_run + 1, 0));
    assert_eq!(after.suspected, before.suspected);
    assert_eq!(
        proxies[1].counters().accepted,
        accepted,
        "the second host was tried too"
    );
    assert_eq!(place.postgres.nodes()[0].state, "up");
}

async fn wrong_password() {
    let change = |role: &str| format!("ALTER ROLE {role} PASSWORD 'second'");
    refused_for_good("wrongpassword", change, "28P01").await;
}

async fn no_login() {
    let change = |role: &str| format!("ALTER ROLE {role} NOLOGIN");
    refused_for_good("nologin", change, "28000").await;
}

async fn no_database() {
    let url = shared().await.url("nowhere");
    let begun = Instant::now();
    let started = Postgres::connect(PostgresSettings::new(Secret::new(url)), &Context::standalone()).await;
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::Configuration { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("database \"nowhere\" does not exist (3D000)") && text.contains("url"),
        "{text}"
    );
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}: not the limit of 5 s");
}

async fn dropped_database() {
    let cluster = shared().await;
    let place = Place::new("dropped").await;
    let session = cluster.connect(0, "postgres").await.unwrap();
    let drop = format!("DROP DATABASE {} WITH (FORCE)", place.database);
    session.batch_execute(&drop).await.unwrap();
    let state = || place.postgres.nodes()[0].clone();
    let end = Instant::now() + Duration::from_secs(10);
    let gone = |node: &NodeStatus| node.failure.as_ref().is_some_and(|seen| seen.contains("3D000"));
    while state().state != "down" || !gone(&state()) {
        assert!(Instant::now() < end, "{:?}", state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = place.counts();
    let view = place.postgres.within(Duration::from_millis(500));
    let error = act(&view, "00000", 0).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
    assert!(error.to_string().contains("does not exist (3D000)"), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    let after = place.counts();
    assert_eq!((after.not_run, after.unknown_outcomes), (before.not_run + 1, 0));

    cluster.create_database(&place.database).await.unwrap();
    let view = place.postgres.read_only();
    sqlx::query("SELECT 1").execute(&view).await.unwrap();
}

async fn database_refused_to_the_pool() {
    let server = SocketAddr::from(([127, 0, 0, 1], shared().await.port(0)));
    let peer = Peer::before(server).await;
    let place = Place::via("nodatabase", peer.address()).await;
    let before = place.counts();
    peer.refuse_login("3D000");
    let error = act(&place.postgres, "00000", 0).await.unwrap_err();
    assert!(peer.is_done());
    assert!(
        matches!(detail(&error), Some(Detail::LoginRefused { state, .. }) if state == "3D000"),
        "{error}"
    );
    let answer = classify(&error);
    assert_eq!(
        (answer.outcome(), answer.fault(), answer.retryable()),
        (Outcome::NotRun, Fault::Service, false)
    );
    let after = place.counts();
    assert_eq!(
        (after.not_run, after.suspected),
        (before.not_run + 1, before.suspected)
    );
    assert_eq!(place.calls().await, 0);
}
