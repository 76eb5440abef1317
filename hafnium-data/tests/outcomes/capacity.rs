//! No room: neither at the server nor in the pool.

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::{Classify, Fault, Outcome};
use hafnium_data::postgres::{Detail, classify, detail};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, StopMode};

use super::peer::Peer;
use super::place::{Expected, Place, act, code, shared, unique};
use super::{Case, Made};

const POOL: &str = "pool time-out";
const LOGIN: &str = "a server says it of temporary files; poolers say it of connections";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "53300",
            "max_connections are in use: those of the pool that are open serve all",
            "done",
            "node left alone; no login for a growing, jittered while; who waits for one gets a connection that another gives back",
            Made::Server,
            full_server,
        ),
        Case::new(
            "53300",
            "the same, and none of the pool is open",
            "not run",
            "node left alone, logins with a growing pause; surfaced at the deadline with the reason",
            Made::Server,
            no_room_at_all,
        ),
        Case::new(
            "53400",
            "in reply to a login",
            "not run",
            "as 53300",
            Made::Peer(LOGIN),
            login_over_limit,
        ),
        Case::new(
            "53400",
            "in reply to a statement: temp_file_limit",
            "rolled back",
            "connection kept, node left alone, surfaced",
            Made::Server,
            file_over_limit,
        ),
        Case::new(
            POOL,
            "every connection is in use",
            "not run",
            "surfaced with size, idle, waiting and the longest checkout",
            Made::Server,
            full_pool,
        ),
        Case::new(
            POOL,
            "logins fail",
            "not run",
            "surfaced with the same and why the last login failed",
            Made::Server,
            failing_logins,
        ),
    ]
}

/// A server for ten connections, of which three are the superuser's.
async fn small_server() -> PostgresCluster {
    let cluster = PostgresCluster::single().await.unwrap();
    let session = cluster.connect(0, "postgres").await.unwrap();
    session
        .batch_execute("ALTER SYSTEM SET max_connections = 10")
        .await
        .unwrap();
    session
        .batch_execute("ALTER SYSTEM SET max_wal_senders = 0")
        .await
        .unwrap();
    drop(session);
    cluster.stop(0, StopMode::Fast).await.unwrap();
    cluster.start(0).await.unwrap();
    cluster
}

/// Takes connections as another application until the server refuses one.
async fn occupy(url: &str, leave: usize) -> Vec<sqlx::PgConnection> {
    use sqlx::Connection;
    let mut taken = Vec::new();
    let refused = loop {
        match sqlx::PgConnection::connect(url).await {
            Ok(connection) => taken.push(connection),
            Err(error) => break error,
        }
        assert!(taken.len() < 20, "the server has no limit");
    };
    let state = refused
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(state.as_deref(), Some("53300"), "{refused}");
    for connection in taken.drain(..leave) {
        connection.close().await.unwrap();
    }
    // The server frees the place a moment after the end of the session.
    tokio::time::sleep(Duration::from_millis(200)).await;
    taken
}

async fn full_server() {
    let cluster = small_server().await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
    let proxy = Proxy::start(server).unwrap();
    let place = Place::on(
        &cluster,
        "fullserver",
        |settings| {
            settings.max = 8;
            settings.timeout = Duration::from_secs(20).into();
        },
        Some(proxy.address()),
    )
    .await;
    place.pid().await;
    // The handle has one connection and its probe; a second one fits.
    let _taken = occupy(&cluster.url(&place.database), 1).await;
    let (before, accepted) = (place.counts(), proxy.counters().accepted);
    let writes = (0..60).map(|_| {
        let postgres = place.postgres.clone();
        tokio::spawn(async move {
            act(&postgres, "00000", 0).await?;
            sqlx::query("SELECT pg_sleep(0.02)")
                .execute(&postgres)
                .await
                .map(drop)
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    let after = place.counts();
    let logins = proxy.counters().accepted - accepted;
    println!("{logins} logins were tried");
    assert!((2..=20).contains(&logins), "{logins} logins were tried");
    assert_eq!((after.done - before.done, place.rows("t").await), (120, 60));
    assert_eq!(
        (after.suspected, after.retries),
        (before.suspected, before.retries)
    );
    assert_eq!(place.postgres.nodes()[0].state, "up");
}

async fn no_room_at_all() {
    let cluster = small_server().await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
    let proxy = Proxy::start(server).unwrap();
    let place = Place::on(&cluster, "noroom", |_| {}, Some(proxy.address())).await;
    let taken = occupy(&cluster.url(&place.database), 0).await;
    let (before, accepted) = (place.counts(), proxy.counters().accepted);
    let view = place.postgres.within(Duration::from_secs(1));
    let error = act(&view, "00000", 0).await.unwrap_err();
    let answer = classify(&error);
    assert_eq!(
        (answer.outcome(), answer.fault()),
        (Outcome::NotRun, Fault::Capacity),
        "{error}"
    );
    assert!(
        error.to_string().contains("last login: ") && error.to_string().contains("connection slots"),
        "{error}"
    );
    let logins = proxy.counters().accepted - accepted;
    assert!((1..=8).contains(&logins), "{logins} logins were tried");
    let after = place.counts();
    assert_eq!(
        (after.not_run - before.not_run, after.suspected),
        (1, before.suspected)
    );
    drop(taken);
    act(&place.postgres, "00000", 0).await.unwrap();
}

async fn login_over_limit() {
    let server = SocketAddr::from(([127, 0, 0, 1], shared().await.port(0)));
    let peer = Peer::before(server).await;
    let place = Place::via("loginlimit", peer.address()).await;
    let before = place.counts();
    peer.refuse_login("53400");
    let begun = std::time::Instant::now();
    act(&place.postgres, "00000", 0).await.unwrap();
    assert!(peer.is_done());
    assert!(begun.elapsed() > Duration::from_millis(40), "a pause");
    let after = place.counts();
    assert_eq!((after.done - before.done, after.suspected), (1, before.suspected));
}

async fn file_over_limit() {
    let place = Place::new("filelimit").await;
    let limit = format!("ALTER DATABASE {} SET temp_file_limit = '100kB'", place.database);
    place.session.batch_execute(&limit).await.unwrap();
    let expected = Expected {
        outcome: Some(Outcome::RolledBack),
        retries: 0,
        suspected: false,
        kept: true,
    };
    let large = place
        .sees(expected, async |postgres| {
            let sort = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 500000) g ORDER BY g::text) s";
            sqlx::query(sort).execute(&postgres.idempotent()).await
        })
        .await;
    assert_eq!(code(&large.unwrap_err()), "postgres.53400");
}

async fn full_pool() {
    let place = Place::with("fullpool", |settings| settings.max = 2).await;
    let holders: Vec<_> = (0..2)
        .map(|_| {
            let postgres = place.postgres.clone();
            tokio::spawn(async move { sqlx::query("SELECT pg_sleep(1.5)").execute(&postgres).await })
        })
        .collect();
    while place.postgres.nodes()[0].in_use < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.session_where("wait_event = 'PgSleep'").await;
    let before = place.counts();
    let view = place.postgres.within(Duration::from_millis(300));
    let error = act(&view, "00000", 0).await.unwrap_err();
    let Some(Detail::PoolTimeout {
        size,
        max,
        idle,
        waiting,
        longest,
        login,
        ..
    }) = detail(&error)
    else {
        panic!("{error}")
    };
    assert_eq!((*size, *max, *idle, *waiting), (2, 2, 0, 0), "{error}");
    assert!(
        *longest >= Some(Duration::from_millis(300)) && login.is_none(),
        "{error}"
    );
    let answer = classify(&error);
    assert_eq!(
        (answer.outcome(), answer.fault()),
        (Outcome::NotRun, Fault::Capacity)
    );
    for word in ["2 of 2 open", "0 idle", "0 waiting", "the longest held for"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    let after = place.counts();
    assert_eq!(
        (after.not_run - before.not_run, after.suspected),
        (1, before.suspected)
    );
    assert_eq!(place.calls().await, 0);
    for holder in holders {
        holder.await.unwrap().unwrap();
    }
}

async fn failing_logins() {
    let cluster = shared().await;
    let place = Place::new("failinglogins").await;
    let role = unique("limited");
    // The probe's connection and one more.
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 2");
    place.session.batch_execute(&create).await.unwrap();
    let url = format!(
        "postgres://{role}:secret@127.0.0.1:{}/{}",
        cluster.port(0),
        place.database
    );
    let session = cluster.connect(0, &place.database).await.unwrap();
    let limited = Place::at(&url, place.database.clone(), session, |settings| settings.max = 3).await;
    let postgres = limited.postgres.clone();
    let holder = tokio::spawn(async move { sqlx::query("SELECT pg_sleep(1.5)").execute(&postgres).await });
    limited.session_where("wait_event = 'PgSleep'").await;
    let view = limited.postgres.within(Duration::from_millis(400));
    let error = act(&view, "00000", 0).await.unwrap_err();
    let Some(Detail::PoolTimeout {
        size,
        max,
        longest,
        login,
        ..
    }) = detail(&error)
    else {
        panic!("{error}")
    };
    assert_eq!((*size, *max), (1, 3), "{error}");
    assert!(longest.is_some(), "{error}");
    assert!(
        login
            .as_ref()
            .is_some_and(|reason| reason.contains("too many connections")),
        "{error}"
    );
    assert!(error.to_string().contains("; last login: "), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(limited.counts().not_run, 1);
    holder.await.unwrap().unwrap();
}
