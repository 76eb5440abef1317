//! The Postgres handle behind a network that loses replies or goes silent: a proxy before one real server.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::health::Health;
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Deadline, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::PostgresCluster;
use tokio::sync::OnceCell;
use tokio::time::Instant;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// A database of its own, by way of a proxy.
async fn proxied(database: &str) -> (Proxy, String) {
    let cluster = CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.unwrap() })
        .await;
    let url = cluster.create_database(database).await.unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
    let proxy = Proxy::start(server).unwrap();
    let url = url.replace(&server.to_string(), &proxy.address().to_string());
    (proxy, url)
}

async fn behind_proxy(database: &str, cx: &Context) -> (Proxy, Postgres) {
    let (proxy, url) = proxied(database).await;
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = 5;
    let postgres = Postgres::connect(settings, cx).await.unwrap();
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    (proxy, postgres)
}

async fn count(postgres: &Postgres) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM t")
        .fetch_one(postgres)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_commit_without_a_reply_is_unknown_and_repeated_only_when_declared_harmless() {
    let (proxy, postgres) = behind_proxy("commit", &Context::standalone()).await;
    proxy.swallow_reply_to("COMMIT");
    let result: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            sqlx::query("INSERT INTO t VALUES (1)")
                .execute(&mut *tx)
                .await
                .map(drop)
        })
        .await;
    let error = result.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    assert_eq!(count(&postgres).await, 1, "it did take effect");

    proxy.swallow_reply_to("COMMIT");
    let runs = AtomicU32::new(0);
    let result: Result<(), sqlx::Error> = postgres
        .idempotent()
        .transaction(async |mut tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            let insert = sqlx::query("INSERT INTO t VALUES (2) ON CONFLICT DO NOTHING");
            insert.execute(&mut *tx).await.map(drop)
        })
        .await;
    result.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(count(&postgres).await, 2);
}

#[tokio::test]
async fn a_statement_without_a_reply_is_unknown_and_repeated_only_when_declared_harmless() {
    let (proxy, postgres) = behind_proxy("statement", &Context::standalone()).await;
    let insert = "INSERT INTO t VALUES (7) ON CONFLICT DO NOTHING";
    proxy.swallow_reply_to(insert);
    let error = sqlx::raw_sql(insert).execute(&postgres).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    assert!(!classify(&error).retryable());
    assert_eq!(count(&postgres).await, 1, "it did take effect");

    proxy.swallow_reply_to(insert);
    let again = sqlx::raw_sql(insert)
        .execute(&postgres.idempotent())
        .await
        .unwrap();
    assert_eq!(
        again.rows_affected(),
        0,
        "the second run found the row of the first"
    );
}

#[tokio::test]
async fn an_unknown_try_stays_unknown_when_no_node_is_there_for_the_next_one() {
    let (proxy, url) = proxied("unresolved").await;
    let server = SocketAddr::from(([127, 0, 0, 1], CLUSTER.get().unwrap().port(0)));
    let mut settings = PostgresSettings::new(Secret::new(url));
    (settings.max, settings.warm) = (1, 0);
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    let postgres = &postgres;
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(postgres)
        .await
        .unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    // The first try takes effect, and whoever comes after it finds nobody.
    let lost = async |needle: &str| {
        proxy.lead_to(server);
        while sqlx::query("SELECT 1").execute(postgres).await.is_err() {}
        proxy.lead_to(nobody);
        proxy.swallow_reply_to(needle);
        postgres.within(Duration::from_secs(2)).idempotent()
    };

    let insert = "INSERT INTO t VALUES (1)";
    let view = lost(insert).await;
    let error = sqlx::raw_sql(insert).execute(&view).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
    assert!(!classify(&error).retryable());

    let view = lost("COMMIT").await;
    let result: Result<(), sqlx::Error> = view
        .transaction(async |mut tx| {
            let insert = sqlx::query("INSERT INTO t VALUES (2)");
            insert.execute(&mut *tx).await.map(drop)
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");

    // What only reads can have had no effect.
    let select = "SELECT count(*) FROM t WHERE id > 0";
    let view = lost(select).await.read_only();
    let error = sqlx::raw_sql(select).execute(&view).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::NotRun, "{error}");

    proxy.lead_to(server);
    assert_eq!(count(postgres).await, 2, "both did take effect");
}

/// Runs `inner` in the closure of a transaction on another connection than that of its `Tx`.
async fn around<Fut>(postgres: &Postgres, inner: impl Fn() -> Fut + Sync) -> (sqlx::Error, u32)
where
    Fut: Future<Output = Result<(), sqlx::Error>> + Send,
{
    let runs = AtomicU32::new(0);
    let (inner, counted) = (&inner, &runs);
    let result: Result<(), sqlx::Error> = postgres
        .transaction(move |mut tx| async move {
            counted.fetch_add(1, Ordering::Relaxed);
            sqlx::query("INSERT INTO t VALUES (100)")
                .execute(&mut *tx)
                .await?;
            inner().await
        })
        .await;
    (result.unwrap_err(), runs.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_another_handle_left_unknown_inside_a_transaction_stays_unknown_and_is_not_repeated() {
    let (proxy, postgres) = behind_proxy("inside", &Context::standalone()).await;
    sqlx::query("CREATE TABLE journal (entry text)")
        .execute(&postgres)
        .await
        .unwrap();
    let journal = async || -> i64 {
        let entries = sqlx::query_scalar("SELECT count(*) FROM journal");
        entries.fetch_one(&postgres).await.unwrap()
    };

    proxy.swallow_reply_to("COMMIT");
    let nested = around(&postgres, || {
        postgres.transaction(async |mut tx| {
            let entry = sqlx::query("INSERT INTO journal VALUES ('transaction')");
            entry.execute(&mut *tx).await.map(drop)
        })
    });
    let (error, runs) = Box::pin(nested).await;
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert_eq!((runs, journal().await), (1, 1));

    let insert = "INSERT INTO journal VALUES ('statement')";
    proxy.swallow_reply_to(insert);
    let (error, runs) = around(&postgres, || async {
        sqlx::raw_sql(insert).execute(&postgres).await.map(drop)
    })
    .await;
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
    assert_eq!((runs, journal().await), (1, 2));

    let (error, runs) = around(&postgres, || async {
        let slow = "WITH slept AS (SELECT pg_sleep(3)) INSERT INTO journal SELECT 'late' FROM slept";
        let view = postgres.within(Duration::from_millis(1500));
        sqlx::raw_sql(slow).execute(&view).await.map(drop)
    })
    .await;
    assert!(matches!(detail(&error), Some(Detail::Deadline { .. })), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
    assert_eq!(runs, 1);

    // Both connections are lost at once: only that of the Tx is certain to have changed nothing.
    let (error, runs) = around(&postgres, || async {
        assert_eq!(count(&postgres).await, 0, "a connection is at hand");
        let slow = tokio::spawn({
            let postgres = postgres.clone();
            async move {
                sqlx::raw_sql("SELECT pg_sleep(5)")
                    .execute(&postgres)
                    .await
                    .map(drop)
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.reset_all();
        slow.await.unwrap()
    })
    .await;
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
    assert_eq!(runs, 1);
    assert_eq!(count(&postgres).await, 0, "the transactions around were undone");
}

#[tokio::test]
async fn a_transaction_that_is_cut_while_another_handle_commits_in_it_is_unknown() {
    let (proxy, inner) = behind_proxy("cutinside", &Context::standalone()).await;
    for (id, in_transaction) in [(1, false), (2, true)] {
        let (_direct, outer) = behind_proxy(&format!("cutoutside{id}"), &Context::standalone()).await;
        let (sent, sending) = tokio::sync::oneshot::channel();
        let (runs, sent) = (AtomicU32::new(0), std::sync::Mutex::new(Some(sent)));
        let (inner, proxy, runs, sent) = (&inner, &proxy, &runs, &sent);
        let slowly = move || {
            // What is sent from here on arrives, but long after the transaction around was cut.
            proxy.latency(Duration::from_millis(700));
            let _ = sent.lock().unwrap().take().map(|sent| sent.send(()));
        };
        let insert = move || sqlx::query("INSERT INTO t VALUES ($1)").bind(id);
        let around = outer.transaction(move |mut tx| async move {
            runs.fetch_add(1, Ordering::Relaxed);
            insert().execute(&mut *tx).await?;
            if in_transaction {
                let nested = inner.transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    insert().execute(&mut *tx).await?;
                    slowly();
                    Ok(())
                });
                nested.await
            } else {
                slowly();
                let insert = format!("INSERT INTO t VALUES ({id})");
                sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
                    .execute(inner)
                    .await
                    .map(drop)
            }
        });
        let cut = async {
            sending.await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            hafnium_core::Component::stop(&outer, Deadline::after(Duration::ZERO)).await
        };
        let (result, _stopped): (Result<(), sqlx::Error>, _) =
            Box::pin(async { tokio::join!(around, cut) }).await;
        let error = result.unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::Cut { .. })), "{error}");
        assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
        assert!(!classify(&error).retryable());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        proxy.latency(Duration::ZERO);
        let end = Instant::now() + Duration::from_secs(10);
        while count(inner).await < i64::from(id) {
            assert!(Instant::now() < end, "what was under way did not take effect");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_rollback_without_a_reply_holds_no_one_past_the_deadline() {
    let (proxy, postgres) = behind_proxy("rollback", &Context::standalone()).await;
    let limit = Duration::from_millis(400);
    let view = postgres.within(limit);
    let begun = Instant::now();
    let result: Result<(), sqlx::Error> = view
        .transaction(async |mut tx| {
            sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await?;
            proxy.black_hole();
            Err(sqlx::Error::RowNotFound)
        })
        .await;
    let waited = begun.elapsed();
    assert!(matches!(result, Err(sqlx::Error::RowNotFound)), "{result:?}");
    assert!(waited < limit + Duration::from_millis(200), "{waited:?}");
    proxy.heal();
    assert_eq!(count(&postgres).await, 0);
}

#[tokio::test]
async fn a_silent_server_is_found_out_holds_no_one_past_the_deadline_and_comes_back() {
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let (proxy, postgres) = behind_proxy("silent", &cx).await;
    assert_eq!(cx.health().report().checks[0].name, "postgres.default");

    proxy.black_hole();
    let begun = Instant::now();
    let limit = Duration::from_millis(400);
    let waiting = (0..20).map(|_| {
        let view = postgres.within(limit);
        async move {
            let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
            (begun.elapsed(), error)
        }
    });
    for (waited, error) in futures_util::future::join_all(waiting).await {
        assert!(waited < limit + Duration::from_millis(200), "{waited:?}: {error}");
        assert!(detail(&error).is_some(), "{error}");
    }

    while postgres.nodes()[0].state != "down" {
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("down {:?} after the silence began", begun.elapsed());
    let error = sqlx::query("SELECT 1")
        .execute(&postgres.within(limit))
        .await
        .unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::NoNode { .. })),
        "nothing is sent to a silent node: {error}"
    );

    proxy.heal();
    assert_eq!(count(&postgres).await, 0);
    let node = &postgres.nodes()[0];
    assert_eq!((node.in_use, node.state), (0, "up"), "{node:?}");
}

#[tokio::test]
async fn the_health_check_tells_of_the_primary_and_goes_with_the_handle() {
    let cx = Context::standalone();
    let (_proxy, postgres) = behind_proxy("health", &cx).await;
    cx.health().run(cx.tasks(), cx.metrics());
    let end = Instant::now() + Duration::from_secs(5);
    while cx.health().report().checks[0].health != Health::Up {
        assert!(Instant::now() < end, "{:?}", cx.health().report());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        !cx.health().report().checks[0].counts,
        "a shared check is informational"
    );
    drop(postgres);
    assert!(cx.health().report().checks.is_empty());
}
