//! `exactly_once` on one real server behind a network that loses replies to COMMIT, or COMMIT itself, or delivers it
//! late. What a failover does to it is in `postgres_exactly_once_failover.rs`.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "relay/mod.rs"]
mod relay;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Detail, Done, MARKERS, Postgres, PostgresSettings, Tx, classify, detail};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::PostgresCluster;
use relay::{Fate, Relay};
use tokio::sync::OnceCell;
use tokio::time::Instant;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

async fn cluster() -> &'static PostgresCluster {
    CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.unwrap() })
        .await
}

fn server(cluster: &PostgresCluster) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster.port(0)))
}

/// Settings for a new database, reached at `address`.
async fn settings(database: &str, address: SocketAddr) -> PostgresSettings {
    let cluster = cluster().await;
    let url = cluster.create_database(database).await.unwrap();
    PostgresSettings::new(Secret::new(
        url.replace(&server(cluster).to_string(), &address.to_string()),
    ))
}

async fn connect(settings: PostgresSettings) -> Postgres {
    Postgres::connect(settings, &Context::standalone()).await.unwrap()
}

/// A handle on a new database with the tables of these tests.
async fn ledger(database: &str, address: SocketAddr) -> Postgres {
    let postgres = connect(settings(database, address).await).await;
    sqlx::raw_sql(MARKERS).execute(&postgres).await.unwrap();
    // Nothing keeps an effect from being there twice but what is tested.
    sqlx::query("CREATE TABLE effects (key text NOT NULL, run int NOT NULL)")
        .execute(&postgres)
        .await
        .unwrap();
    postgres
}

async fn direct(database: &str) -> Postgres {
    ledger(database, server(cluster().await)).await
}

async fn effect(tx: &mut Tx, key: &str, run: u32) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO effects VALUES ($1, $2)")
        .bind(key)
        .bind(i32::try_from(run).unwrap())
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Does the effect of `key` once; the number of the run that did it.
async fn act(postgres: &Postgres, key: &str, runs: &AtomicU32) -> Result<Done<u32>, sqlx::Error> {
    postgres
        .exactly_once(key, async |mut tx| {
            let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
            effect(&mut tx, key, run).await?;
            Ok(run)
        })
        .await
}

/// The runs that left an effect of `key`.
async fn effects(postgres: &Postgres, key: &str) -> Vec<i32> {
    sqlx::query_scalar("SELECT run FROM effects WHERE key = $1 ORDER BY run")
        .bind(key)
        .fetch_all(postgres)
        .await
        .unwrap()
}

/// Waits until as many sessions of `database` are as `condition` says, as a superuser sees them.
async fn sessions(database: &str, condition: &str, wanted: i64) {
    let session = cluster().await.connect(0, "postgres").await.unwrap();
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND {condition}");
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let found: i64 = session.query_one(&count, &[]).await.unwrap().get(0);
        if found == wanted {
            return;
        }
        assert!(
            Instant::now() < end,
            "{found} sessions are {condition}, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_key_takes_effect_once_and_a_later_call_is_told_so() {
    let postgres = direct("once").await;
    let runs = AtomicU32::new(0);
    assert_eq!(act(&postgres, "a", &runs).await.unwrap(), Done::Now(1));
    assert_eq!(act(&postgres, "a", &runs).await.unwrap(), Done::Before);
    assert_eq!(act(&postgres, "b", &runs).await.unwrap().now(), Some(2));
    assert_eq!(effects(&postgres, "a").await, [1]);
    let view = postgres.within(Duration::from_secs(1)).idempotent();
    let again = view
        .exactly_once("a", async |_| -> Result<(), sqlx::Error> { Ok(()) })
        .await;
    assert_eq!(again.unwrap(), Done::Before);
    let read_only = postgres.read_only();
    let refused = read_only
        .exactly_once("c", async |_| -> Result<(), sqlx::Error> { Ok(()) })
        .await;
    assert_eq!(classify(&refused.unwrap_err()).code(), "postgres.read_only");
}

#[tokio::test]
async fn a_closure_that_fails_leaves_its_key_free() {
    let postgres = direct("fails").await;
    let refused: Result<Done<()>, sqlx::Error> = postgres
        .exactly_once("a", async |mut tx| {
            effect(&mut tx, "a", 0).await?;
            Err(sqlx::Error::RowNotFound)
        })
        .await;
    assert!(matches!(refused, Err(sqlx::Error::RowNotFound)));
    // A statement that failed and was forgotten: nothing is committed either.
    let forgotten: Result<Done<()>, sqlx::Error> = postgres
        .exactly_once("a", async |mut tx| {
            let _failed = sqlx::query("SELECT 1 / 0").execute(&mut *tx).await;
            Ok(())
        })
        .await;
    assert!(matches!(detail(&forgotten.unwrap_err()), Some(Detail::Aborted)));
    let runs = AtomicU32::new(0);
    assert_eq!(act(&postgres, "a", &runs).await.unwrap(), Done::Now(1));
    assert_eq!(effects(&postgres, "a").await, [1]);
}

#[tokio::test]
async fn a_savepoint_that_is_given_up_takes_neither_the_effect_nor_the_key_with_it() {
    let postgres = direct("savepoints").await;
    let done = postgres
        .exactly_once("a", async |mut tx| -> Result<(), sqlx::Error> {
            effect(&mut tx, "a", 1).await?;
            let mut failing = tx.savepoint().await?;
            let failed = sqlx::query("SELECT 1 / 0").execute(&mut *failing).await;
            assert_eq!(classify(&failed.unwrap_err()).code(), "postgres.22");
            failing.rollback().await?;
            let mut dropped = tx.savepoint().await?;
            sqlx::query("INSERT INTO effects VALUES ('a', 2)")
                .execute(&mut *dropped)
                .await?;
            drop(dropped);
            let mut kept = tx.savepoint().await?;
            sqlx::query("INSERT INTO effects VALUES ('a', 3)")
                .execute(&mut *kept)
                .await?;
            kept.commit().await
        })
        .await;
    assert_eq!(done.unwrap(), Done::Now(()));
    assert_eq!(effects(&postgres, "a").await, [1, 3]);
    assert_eq!(
        act(&postgres, "a", &AtomicU32::new(0)).await.unwrap(),
        Done::Before
    );
}

#[tokio::test]
async fn of_many_calls_at_once_one_does_it_and_the_others_are_told() {
    let postgres = direct("crowd").await;
    let runs = AtomicU32::new(0);
    for round in 0..20 {
        let key = format!("round {round}");
        let calls = (0..8).map(|_| act(&postgres, &key, &runs));
        let done = futures_util::future::join_all(calls).await;
        let now = done
            .iter()
            .filter(|done| matches!(done, Ok(Done::Now(_))))
            .count();
        let before = done
            .iter()
            .filter(|done| matches!(done, Ok(Done::Before)))
            .count();
        assert_eq!((now, before), (1, 7), "{done:?}");
        assert_eq!(effects(&postgres, &key).await.len(), 1);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_commit_without_a_reply_is_looked_up_and_answered_with_what_its_run_returned() {
    let proxy = Proxy::start(server(cluster().await)).unwrap();
    let postgres = ledger("swallowed", proxy.address()).await;
    let runs = AtomicU32::new(0);
    for round in 1..=10 {
        let key = format!("round {round}");
        let before = proxy.counters();
        proxy.swallow_reply_to("COMMIT");
        let done = postgres
            .exactly_once(&key, async |mut tx| -> Result<_, sqlx::Error> {
                let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
                effect(&mut tx, &key, run).await?;
                Ok((run, tx.token()))
            })
            .await
            .unwrap();
        let after = proxy.counters();
        assert_eq!(
            after.resets,
            before.resets + 1,
            "the reply was not swallowed: {after:?}"
        );
        let (run, token) = done.now().unwrap();
        assert_eq!(run, round, "the run that committed gives the answer");
        assert!(
            token.get().is_some(),
            "the look-up brings the token of what it found"
        );
        assert_eq!(effects(&postgres, &key).await, [i32::try_from(round).unwrap()]);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 10, "no closure ran twice");
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_run_again() {
    let relay = Relay::start(server(cluster().await)).await;
    let postgres = ledger("lost", relay.address()).await;
    let runs = AtomicU32::new(0);
    let held = relay.hold("COMMIT");
    let (done, ()) = tokio::join!(act(&postgres, "a", &runs), async {
        held.caught().await;
        held.decide(Fate::Lost);
    });
    assert_eq!(done.unwrap(), Done::Now(2));
    assert_eq!(effects(&postgres, "a").await, [2]);
}

#[tokio::test]
async fn a_commit_that_arrives_late_is_waited_for_and_not_run_again() {
    let relay = Relay::start(server(cluster().await)).await;
    let postgres = ledger("late", relay.address()).await;
    let runs = AtomicU32::new(0);
    let held = relay.hold("COMMIT");
    let (done, other, ()) = tokio::join!(
        act(&postgres, "a", &runs),
        async {
            held.caught().await;
            // Another caller with the same key, as of a request that was sent again.
            act(&postgres, "a", &runs).await
        },
        async {
            // The client has given its connection up; its session knows nothing of that, and both the look-up and the
            // other caller wait for it. An answer now would be a guess.
            held.caught().await;
            sessions("late", "state = 'idle in transaction'", 1).await;
            sessions(
                "late",
                "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO hafnium_markers%'",
                2,
            )
            .await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(runs.load(Ordering::SeqCst), 1);
            held.decide(Fate::Delivered);
        }
    );
    assert_eq!(done.unwrap(), Done::Now(1));
    assert_eq!(other.unwrap(), Done::Before);
    assert_eq!(effects(&postgres, "a").await, [1]);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_doubt_that_outlasts_the_deadline_is_said_to_be_one_and_a_later_call_resolves_it() {
    let relay = Relay::start(server(cluster().await)).await;
    let postgres = ledger("doubt", relay.address()).await;
    let held = relay.hold("COMMIT");
    let view = postgres.within(Duration::from_millis(500));
    let begun = Instant::now();
    let error = view
        .exactly_once("a", async |mut tx| effect(&mut tx, "a", 1).await)
        .await
        .unwrap_err();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    held.caught().await;
    // The look-up itself was rolled back in time. That says nothing of the run that is in doubt.
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    held.decide(Fate::Delivered);
    let runs = AtomicU32::new(1);
    assert_eq!(act(&postgres, "a", &runs).await.unwrap(), Done::Before);
    assert_eq!(effects(&postgres, "a").await, [1]);
}

#[tokio::test]
async fn a_call_dropped_at_any_time_is_resolved_by_the_next() {
    let postgres = direct("dropped").await;
    for step in 0..40 {
        let key = format!("step {step}");
        let runs = AtomicU32::new(0);
        let limit = Duration::from_micros(step * 100);
        let dropped = tokio::time::timeout(limit, act(&postgres, &key, &runs)).await;
        if let Ok(done) = &dropped {
            assert!(matches!(done, Ok(Done::Now(1))), "{done:?}");
        }
        let second = act(&postgres, &key, &runs).await.unwrap();
        assert!(dropped.is_err() || second == Done::Before);
        assert_eq!(effects(&postgres, &key).await.len(), 1, "{step}: {second:?}");
    }
}

#[tokio::test]
async fn what_is_no_key_and_a_missing_table_are_told() {
    let postgres = connect(settings("missing", server(cluster().await)).await).await;
    let nothing = async |_: Tx| -> Result<(), sqlx::Error> { Ok(()) };
    for wrong in ["", "a\0b", &"x".repeat(256)] {
        let error = postgres.exactly_once(wrong, nothing).await.unwrap_err();
        assert!(
            matches!(detail(&error), Some(Detail::MarkerKey { .. })),
            "{error}"
        );
    }
    let error = postgres.exactly_once("a", nothing).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::MarkersMissing)), "{error}");
    assert!(error.to_string().contains("MARKERS"), "{error}");
    sqlx::raw_sql(MARKERS).execute(&postgres).await.unwrap();
    sqlx::raw_sql(MARKERS).execute(&postgres).await.unwrap();
    assert_eq!(postgres.exactly_once("a", nothing).await.unwrap(), Done::Now(()));
    let longest = "é".repeat(127);
    assert_eq!(
        postgres.exactly_once(&longest, nothing).await.unwrap(),
        Done::Now(())
    );
}

#[tokio::test]
async fn old_markers_are_deleted_by_several_processes_at_once_and_young_ones_stay() {
    let postgres = direct("retention").await;
    sqlx::query(
        "INSERT INTO hafnium_markers SELECT 'old ' || i, 0, now() - interval '1 hour' FROM generate_series(1, 5500) i",
    )
    .execute(&postgres)
    .await
    .unwrap();
    let left = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM hafnium_markers WHERE key LIKE 'old %'")
            .fetch_one(&postgres)
            .await
            .unwrap()
    };
    let cluster = cluster().await;
    let mut replicas = Vec::new();
    for replica in 0..3 {
        let mut settings = PostgresSettings::new(Secret::new(cluster.node_url(0, "retention")));
        settings.timeout = hafnium_core::config::Duration::from_secs(2);
        settings.marker_retention = hafnium_core::config::Duration::from_secs(10);
        let replica_handle = connect(settings).await;
        assert_eq!(left().await, 5500, "nothing is deleted before markers are used");
        replicas.push((replica, replica_handle));
    }
    for (replica, handle) in &replicas {
        let young = format!("young {replica}");
        act(handle, &young, &AtomicU32::new(0))
            .await
            .unwrap()
            .now()
            .unwrap();
    }
    let end = Instant::now() + Duration::from_secs(8);
    while left().await > 0 {
        assert!(Instant::now() < end, "{} are left", left().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let young: i64 = sqlx::query_scalar("SELECT count(*) FROM hafnium_markers")
        .fetch_one(&postgres)
        .await
        .unwrap();
    assert_eq!(young, 3);

    let mut settings = PostgresSettings::new(Secret::new(cluster.node_url(0, "retention")));
    settings.marker_retention = hafnium_core::config::Duration::from_secs(1);
    let error = Postgres::connect(settings, &Context::standalone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("marker_retention"), "{error}");
}
