//! Connections that can't be made, and connections that are lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, Tx, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::proxy::{Direction, Proxy};

use super::place::{Expected, Place, act, code, context, counts, shared, unique};
use super::{Case, Made};
use crate::recorded::Recorded;

const REFUSED: &str = "refused, unreachable, DNS, TLS failure before start-up; handshake over budget";
const BEFORE: &str = "failure before the first byte of the request was written";
const LOST: &str = "EOF / reset / time-out after bytes were written";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            REFUSED,
            "nobody listens",
            "not run",
            "next host; with no other: surfaced at the deadline, the reason of each node named",
            Made::Network,
            || nowhere("127.0.0.1:1", "", "refused"),
        ),
        Case::new(
            REFUSED,
            "no route to the address, or nobody there",
            "not run",
            "next host; with no other: surfaced at the deadline, the reason of each node named",
            Made::Network,
            || nowhere("192.0.2.1:5432", "", "192.0.2.1"),
        ),
        Case::new(
            REFUSED,
            "the name does not resolve",
            "not run",
            "next host; with no other: surfaced at the deadline, the reason of each node named",
            Made::Network,
            || nowhere("nowhere.invalid:5432", "", "nowhere.invalid"),
        ),
        Case::new(
            REFUSED,
            "TLS is demanded of a server without it",
            "not run",
            "next host; with no other: surfaced at the deadline, the reason of each node named",
            Made::Server,
            no_tls,
        ),
        Case::new(
            REFUSED,
            "the handshake is not answered",
            "not run",
            "next host; with no other: surfaced at the deadline, the reason of each node named; given up after a second",
            Made::Network,
            silent_handshake,
        ),
        Case::new(
            REFUSED,
            "one of two hosts is not there",
            "done",
            "the other host serves",
            Made::Network,
            next_host,
        ),
        Case::new(
            BEFORE,
            "no connection can be opened for a statement",
            "not run",
            "node suspected; surfaced at the deadline",
            Made::Network,
            no_connection,
        ),
        Case::new(
            BEFORE,
            "an idle connection died unnoticed, then gets a write",
            "unknown: sqlx does not say whether a byte was written",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Network,
            died_idle,
        ),
        Case::new(
            LOST,
            "a write outside a transaction",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Network,
            lost_write,
        ),
        Case::new(
            LOST,
            "the same, declared idempotent, and the next try fails for certain",
            "unknown",
            "as before; the error of the next try is told of in the text",
            Made::Network,
            lost_then_refused,
        ),
        Case::new(
            LOST,
            "every process of the server is killed in a write outside a transaction",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent; an end of file, no SQLSTATE",
            Made::Server,
            killed,
        ),
        Case::new(
            LOST,
            "no reply to a write by the deadline",
            "unknown",
            "connection discarded, node left alone, surfaced",
            Made::Server,
            late,
        ),
        Case::new(
            LOST,
            "in a transaction, before COMMIT",
            "rolled back",
            "connection discarded, node suspected, the closure runs again",
            Made::Network,
            lost_in_transaction,
        ),
        Case::new(
            LOST,
            "COMMIT was sent",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Network,
            lost_commit,
        ),
    ]
}

const SHORT: Duration = Duration::from_millis(1500);

/// A handle whose only host can't be reached.
async fn unreachable(url: &str, word: &str) {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = SHORT.into();
    let recorded = Recorded::new();
    let cx = context(&recorded);
    let postgres = Postgres::new("default", settings, &cx).unwrap();
    let started = hafnium_core::Component::start(&postgres, &cx).await;
    assert!(started.unwrap_err().retryable());
    let error = sqlx::query("SELECT 1").execute(&postgres).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    assert!(
        classify(&error).retryable() && error.to_string().contains(word),
        "{error}"
    );
    assert_eq!(
        (
            counts(&recorded, &postgres).not_run,
            counts(&recorded, &postgres).unknown_outcomes
        ),
        (1, 0)
    );
    assert_ne!(postgres.nodes()[0].state, "up");
}

async fn nowhere(host: &str, query: &str, word: &str) {
    unreachable(&format!("postgres://app:secret@{host}/db{query}"), word).await;
}

async fn no_tls() {
    let url = shared().await.url("postgres");
    unreachable(&format!("{url}?sslmode=require"), "TLS").await;
}

async fn silent_handshake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let begun = std::time::Instant::now();
    nowhere(&address.to_string(), "", "no answer to a login").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

async fn next_host() {
    let cluster = shared().await;
    let database = unique("nexthost");
    let url = cluster.create_database(&database).await.unwrap();
    let session = cluster.connect(0, &database).await.unwrap();
    let url = url.replace('@', "@127.0.0.1:1,");
    let place = Place::at(&url, database, session, |_| {}).await;
    sqlx::query("SELECT 1").execute(&place.postgres).await.unwrap();
    assert_eq!(place.counts().done, 1);
    assert_eq!(place.postgres.nodes()[1].role, "primary");
}

async fn proxied(case: &str) -> (Proxy, Place) {
    let server = SocketAddr::from(([127, 0, 0, 1], shared().await.port(0)));
    let proxy = Proxy::start(server).unwrap();
    let place = Place::via(case, proxy.address()).await;
    (proxy, place)
}

async fn no_connection() {
    let (proxy, place) = proxied("noconnection").await;
    proxy.black_hole();
    proxy.reset_all();
    // Longer than the period of a probe.
    let view = place.postgres.within(Duration::from_millis(1500));
    let error = act(&view, "00000", 0).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::NotRun, "{error}");
    assert_eq!(place.calls().await, 0);
    assert_eq!((place.counts().not_run, place.counts().unknown_outcomes), (1, 0));
    assert_ne!(place.postgres.nodes()[0].state, "up");
    proxy.heal();
    act(&place.postgres, "00000", 0).await.unwrap();
}

const LOST_ONCE: Expected = Expected {
    outcome: Some(Outcome::Unknown),
    retries: 0,
    suspected: true,
    kept: false,
};

const FOUND_AGAIN: Expected = Expected {
    outcome: None,
    retries: 1,
    suspected: true,
    kept: false,
};

async fn died_idle() {
    let (proxy, place) = proxied("diedidle").await;
    // The next byte of a request never arrives.
    let cut = || proxy.cut_after(Direction::ToServer, 0);
    let died = place
        .sees(LOST_ONCE, async |postgres| {
            cut();
            act(postgres, "00000", 0).await
        })
        .await;
    assert_eq!(code(&died.unwrap_err()), "postgres.connection_lost");
    assert_eq!(place.calls().await, 0);
    place
        .sees(FOUND_AGAIN, async |postgres| {
            cut();
            act(&postgres.idempotent(), "00000", 0).await
        })
        .await
        .unwrap();
    assert_eq!(place.calls().await, 1);
}

const WRITE: &str = "INSERT INTO t SELECT act('00000', 0)";

async fn lost_write() {
    let (proxy, place) = proxied("lostwrite").await;
    let write = sqlx::raw_sql(WRITE);
    let lost = place
        .sees(LOST_ONCE, async |postgres| {
            proxy.swallow_reply_to(WRITE);
            write.execute(postgres).await
        })
        .await;
    assert_eq!(code(&lost.unwrap_err()), "postgres.connection_lost");
    assert_eq!(place.rows("t").await, 1, "it did take effect");
    place
        .sees(FOUND_AGAIN, async |postgres| {
            proxy.swallow_reply_to(WRITE);
            sqlx::raw_sql(WRITE).execute(&postgres.idempotent()).await
        })
        .await
        .unwrap();
    assert_eq!(place.rows("t").await, 3, "both runs did");
}

async fn killed() {
    let cluster = PostgresCluster::single().await.unwrap();
    let place = Place::on(&cluster, "killed", |_| {}, None).await;
    let before = place.counts();
    let postgres = place.postgres.clone();
    let write = tokio::spawn(async move { act(&postgres, "slow", 1).await });
    place.session_where("wait_event = 'PgSleep'").await;
    println!("{}", cluster.kill9(0).await.unwrap());
    let error = write.await.unwrap().unwrap_err();
    assert_eq!(code(&error), "postgres.connection_lost", "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    let after = place.counts();
    assert_eq!(
        (after.unknown_outcomes, after.retries),
        (before.unknown_outcomes + 1, 0)
    );
    assert!(after.suspected > before.suspected);
    cluster.start(0).await.unwrap();
    place.pid().await;
}

async fn late() {
    let place = Place::new("late").await;
    let expected = Expected {
        suspected: false,
        ..LOST_ONCE
    };
    let late = place
        .sees(expected, async |postgres| {
            act(&postgres.within(Duration::from_millis(200)), "slow", 1).await
        })
        .await;
    assert_eq!(code(&late.unwrap_err()), "postgres.deadline_exceeded");
}

async fn lost_in_transaction() {
    let (proxy, place) = proxied("lostintransaction").await;
    let runs = AtomicU32::new(0);
    let (proxy, counted) = (&proxy, &runs);
    place
        .sees(FOUND_AGAIN, async |postgres| {
            postgres
                .transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    act(&mut *tx, "00000", 0).await?;
                    if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                        proxy.reset_all();
                    }
                    act(&mut *tx, "00000", 0).await
                })
                .await
        })
        .await
        .unwrap();
    assert_eq!((runs.load(Ordering::Relaxed), place.rows("t").await), (2, 2));
}

async fn lost_commit() {
    let (proxy, place) = proxied("lostcommit").await;
    let proxy = &proxy;
    let run = async |postgres: &Postgres, idempotent: bool| {
        proxy.swallow_reply_to("COMMIT");
        let view = if idempotent {
            postgres.idempotent()
        } else {
            postgres.within(Duration::from_secs(60))
        };
        view.transaction(async |mut tx: Tx| -> Result<(), sqlx::Error> { act(&mut *tx, "00000", 0).await })
            .await
    };
    let lost = place
        .sees(LOST_ONCE, async |postgres| run(postgres, false).await)
        .await;
    assert!(matches!(
        detail(&lost.unwrap_err()),
        Some(Detail::CommitUnknown { .. })
    ));
    assert_eq!(place.rows("t").await, 1, "it did take effect");
    place
        .sees(FOUND_AGAIN, async |postgres| run(postgres, true).await)
        .await
        .unwrap();
    assert_eq!(place.rows("t").await, 3, "both runs did");
}

/// The second run finds what the first one did.
async fn lost_then_refused() {
    let (proxy, place) = proxied("lostthenrefused").await;
    let expected = Expected {
        retries: 1,
        ..LOST_ONCE
    };
    let insert = "INSERT INTO t VALUES (1)";
    let lost = place
        .sees(expected, async |postgres| {
            proxy.swallow_reply_to(insert);
            sqlx::raw_sql(insert).execute(&postgres.idempotent()).await
        })
        .await;
    let error = lost.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::EarlierTry { .. })),
        "{error}"
    );
    assert_eq!(code(&error), "postgres.earlier_try_unknown");
    assert!(error.to_string().contains("duplicate key"), "{error}");
    let lost = place
        .sees(expected, async |postgres| {
            proxy.swallow_reply_to("COMMIT");
            postgres
                .idempotent()
                .transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    sqlx::query("INSERT INTO t VALUES (2)")
                        .execute(&mut *tx)
                        .await
                        .map(drop)
                })
                .await
        })
        .await;
    assert_eq!(code(&lost.unwrap_err()), "postgres.earlier_try_unknown");
    assert_eq!(place.rows("t").await, 2);
}
