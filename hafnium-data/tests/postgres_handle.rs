//! The Postgres handle against one real server: queries, transactions, cancellation, migrations, bad settings.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Component, Context, Deadline, Outcome, StartError};
use hafnium_data::postgres::{Detail, MigrationError, Postgres, PostgresSettings, Tx, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tokio::sync::OnceCell;
use tokio::time::Instant;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// Settings for a database of the test's own.
async fn settings(database: &str) -> PostgresSettings {
    let cluster = CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
        .await;
    let url = cluster.create_database(database).await.expect("a database");
    PostgresSettings::new(Secret::new(url))
}

async fn connect(settings: PostgresSettings) -> Postgres {
    Postgres::connect(settings, &Context::standalone())
        .await
        .expect("connects")
}

async fn with_table(database: &str) -> Postgres {
    let postgres = connect(settings(database).await).await;
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    postgres
}

async fn count(postgres: &Postgres) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM t")
        .fetch_one(postgres)
        .await
        .unwrap()
}

async fn insert(tx: &mut Tx, id: i32) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO t VALUES ($1)")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Waits until no connection is out; says how many the pool may hold and how many are out then.
async fn settled(postgres: &Postgres) -> (usize, usize) {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let node = &postgres.nodes()[0];
        if node.in_use == 0 || Instant::now() > end {
            return (node.max, node.in_use);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until one operation runs on the server.
async fn running(postgres: &Postgres) {
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' \
                    AND datname = current_database()";
    let end = Instant::now() + Duration::from_secs(5);
    while sqlx::query_scalar::<_, i64>(sleeping)
        .fetch_one(postgres)
        .await
        .unwrap()
        == 0
    {
        assert!(Instant::now() < end, "the statement does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_handle_and_its_views_are_executors() {
    let postgres = with_table("executors").await;
    let inserted = sqlx::query("INSERT INTO t SELECT generate_series(1, 5)")
        .execute(&postgres)
        .await
        .unwrap();
    assert_eq!(inserted.rows_affected(), 5);
    let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM t ORDER BY id")
        .fetch_all(&postgres)
        .await
        .unwrap();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let reader = postgres.reader();
    let mut rows = sqlx::query_scalar::<_, i32>("SELECT id FROM t ORDER BY id").fetch(&reader);
    let mut sum = 0;
    while let Some(row) = rows.next().await {
        sum += row.unwrap();
    }
    assert_eq!(sum, 15);
    let missing = sqlx::query("SELECT 1 FROM t WHERE id = $1")
        .bind(99)
        .fetch_one(&postgres.idempotent())
        .await;
    assert!(matches!(missing, Err(sqlx::Error::RowNotFound)));
    let duplicate = sqlx::query("INSERT INTO t VALUES (1)")
        .execute(&postgres)
        .await
        .unwrap_err();
    assert_eq!(classify(&duplicate).code(), "postgres.23505");
    assert_eq!(classify(&duplicate).outcome(), Outcome::RolledBack);
    assert_eq!(settled(&postgres).await, (10, 0));
}

#[tokio::test]
async fn a_transaction_commits_what_the_closure_did_and_rolls_back_on_error_and_panic() {
    let postgres = with_table("outcomes").await;
    let value: Result<i32, sqlx::Error> = postgres
        .transaction(async |mut tx| {
            insert(&mut tx, 1).await?;
            Ok(7)
        })
        .await;
    assert_eq!(value.unwrap(), 7);

    let refused: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            insert(&mut tx, 2).await?;
            Err(sqlx::Error::RowNotFound)
        })
        .await;
    assert!(matches!(refused, Err(sqlx::Error::RowNotFound)));

    let panicking = postgres.clone();
    let panicked = tokio::spawn(async move {
        let result: Result<(), sqlx::Error> = panicking
            .transaction(async |mut tx| {
                insert(&mut tx, 3).await?;
                panic!("a defect in the closure")
            })
            .await;
        result
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(count(&postgres).await, 1);
    assert_eq!(settled(&postgres).await, (10, 0));
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_never_reports_success() {
    let postgres = with_table("aborted").await;
    let result: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            insert(&mut tx, 1).await?;
            let swallowed = insert(&mut tx, 1).await;
            assert!(swallowed.is_err());
            Ok(())
        })
        .await;
    let error = result.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::Aborted)), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::RolledBack);
    assert_eq!(count(&postgres).await, 0);
}

#[tokio::test]
async fn a_begin_inside_a_transaction_is_a_savepoint_on_every_use_of_a_connection() {
    let mut settings = settings("savepoints").await;
    settings.max = 1;
    let postgres = connect(settings).await;
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    for round in 0..3 {
        let result: Result<(), sqlx::Error> = postgres
            .transaction(async |mut tx| {
                let mut kept = tx.savepoint().await?;
                sqlx::query("INSERT INTO t VALUES ($1)")
                    .bind(round)
                    .execute(&mut *kept)
                    .await?;
                kept.commit().await?;
                let mut undone = sqlx::Acquire::begin(&mut *tx).await?;
                sqlx::query("INSERT INTO t VALUES ($1)")
                    .bind(100 + round)
                    .execute(&mut *undone)
                    .await?;
                drop(undone);
                if round == 1 {
                    return Err(sqlx::Error::RowNotFound);
                }
                Ok(())
            })
            .await;
        assert_eq!(result.is_ok(), round != 1);
    }
    let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM t ORDER BY id")
        .fetch_all(&postgres)
        .await
        .unwrap();
    assert_eq!(ids, [0, 2]);
}

#[tokio::test]
async fn a_serialization_failure_runs_the_closure_again() {
    let postgres = with_table("conflict").await;
    sqlx::query("INSERT INTO t VALUES (1)")
        .execute(&postgres)
        .await
        .unwrap();
    sqlx::query("ALTER TABLE t ADD n int NOT NULL DEFAULT 0")
        .execute(&postgres)
        .await
        .unwrap();
    let runs = AtomicU32::new(0);
    let result: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                .execute(&mut *tx)
                .await?;
            let n: i32 = sqlx::query_scalar("SELECT n FROM t").fetch_one(&mut *tx).await?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                sqlx::query("UPDATE t SET n = n + 10").execute(&postgres).await?;
            }
            sqlx::query("UPDATE t SET n = $1")
                .bind(n + 1)
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
        .await;
    result.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    let n: i32 = sqlx::query_scalar("SELECT n FROM t")
        .fetch_one(&postgres)
        .await
        .unwrap();
    assert_eq!(n, 11);
}

#[tokio::test]
async fn a_transaction_that_loses_its_connection_before_commit_runs_again() {
    let postgres = with_table("lostsession").await;
    let runs = AtomicU32::new(0);
    let result: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            insert(&mut tx, 1).await?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
                    .fetch_one(&mut *tx)
                    .await?;
                let end = sqlx::query("SELECT pg_terminate_backend($1, 2000)").bind(pid);
                end.execute(&postgres).await?;
            }
            insert(&mut tx, 2).await
        })
        .await;
    result.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(count(&postgres).await, 2);
}

#[tokio::test]
async fn a_write_in_a_read_only_transaction_is_refused_once_and_blames_no_node() {
    let postgres = with_table("readonly").await;
    for view in [postgres.read_only(), postgres.reader()] {
        let runs = AtomicU32::new(0);
        let result: Result<(), sqlx::Error> = view
            .transaction(async |mut tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                insert(&mut tx, 1).await
            })
            .await;
        assert_eq!(postgres.nodes()[0].state, "up");
        let error = result.unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::ReadOnly { .. })), "{error}");
        assert!(!classify(&error).retryable());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(settled(&postgres).await, (10, 0));
    }
    assert_eq!(count(&postgres).await, 0);
}

#[tokio::test]
async fn a_tx_that_outlives_its_closure_is_rolled_back_and_said_so() {
    let postgres = with_table("kept").await;
    let (sender, kept) = std::sync::mpsc::channel();
    let result: Result<(), sqlx::Error> = postgres
        .transaction(|mut tx| {
            let sender = sender.clone();
            async move {
                insert(&mut tx, 1).await?;
                let _ = sender.send(tx);
                Ok(())
            }
        })
        .await;
    assert!(matches!(detail(&result.unwrap_err()), Some(Detail::TxKept)));
    drop(kept);
    assert_eq!(count(&postgres).await, 0);
    assert_eq!(settled(&postgres).await, (10, 0));
}

#[tokio::test]
async fn a_connection_that_was_dropped_in_mid_flight_never_serves_again() {
    let mut settings = settings("midflight").await;
    settings.max = 1;
    settings.warm = 0;
    let postgres = connect(settings).await;
    let session = async || -> i32 {
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
        pid.fetch_one(&postgres).await.unwrap()
    };
    let first = session().await;
    assert_eq!(first, session().await, "an undisturbed connection is kept");

    let statement = sqlx::query("SELECT pg_sleep(2)").execute(&postgres);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), statement)
            .await
            .is_err()
    );
    let begun = Instant::now();
    let second = session().await;
    assert_ne!(first, second);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it waited for the dropped statement"
    );

    let transaction = postgres.transaction(async |mut tx| {
        sqlx::query("CREATE TABLE t (id int)").execute(&mut *tx).await?;
        sqlx::query("SELECT pg_sleep(2)")
            .execute(&mut *tx)
            .await
            .map(drop)
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(200), transaction)
            .await
            .is_err()
    );
    let third = session().await;
    assert_ne!(second, third);
    let table: Option<String> = sqlx::query_scalar("SELECT to_regclass('t')::text")
        .fetch_one(&postgres)
        .await
        .unwrap();
    assert_eq!(table, None);

    let mut rows = sqlx::query("SELECT generate_series(1, 10)").fetch(&postgres);
    rows.next().await.unwrap().unwrap();
    drop(rows);
    assert_ne!(third, session().await);
}

#[tokio::test]
async fn a_slow_statement_ends_at_its_deadline_and_says_what_it_waited_for() {
    let postgres = with_table("slow").await;
    let begun = Instant::now();
    let view = postgres.within(Duration::from_millis(200));
    let error = sqlx::query("SELECT pg_sleep(5)")
        .execute(&view)
        .await
        .unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_millis(450),
        "{:?}",
        begun.elapsed()
    );
    assert!(error.to_string().contains("the reply to a statement"), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);

    let begun = Instant::now();
    let error = Deadline::after(Duration::from_millis(200))
        .scope(postgres.transaction(async |mut tx| {
            insert(&mut tx, 1).await?;
            sqlx::query("SELECT pg_sleep(5)")
                .execute(&mut *tx)
                .await
                .map(drop)
        }))
        .await
        .unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_millis(450),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(classify(&error).outcome(), Outcome::RolledBack);
    assert_eq!(count(&postgres).await, 0);
}

#[tokio::test]
async fn a_full_pool_is_a_typed_error_that_says_how_full() {
    let mut settings = settings("full").await;
    settings.max = 1;
    let postgres = connect(settings).await;
    // Else the login of the holder may be what is waited for.
    sqlx::query("SELECT 1").execute(&postgres).await.unwrap();
    let holder = postgres.clone();
    let held = tokio::spawn(async move { sqlx::query("SELECT pg_sleep(1)").execute(&holder).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let view = postgres.within(Duration::from_millis(100));
    let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::PoolTimeout { size: 1, max: 1, .. })),
        "{error}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_terminated_session_is_replaced_without_an_error() {
    let postgres = with_table("terminated").await;
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(&postgres)
    .await
    .unwrap();
    assert!(ended >= 1);
    for _ in 0..20 {
        sqlx::query("SELECT 1")
            .execute(&postgres.read_only())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_clear_configuration_error_that_does_not_show_it() {
    let good = settings("password").await;
    let good_url = good.url.current();
    let (before, after) = good_url.expose().split_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    let bad = PostgresSettings::new(Secret::new(format!("{user}:hunter2@{after}")));
    let begun = Instant::now();
    let error = Postgres::connect(bad, &Context::standalone()).await.unwrap_err();
    assert!(matches!(error, StartError::Configuration { .. }), "{error}");
    assert!(error.to_string().contains("28P01"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn settings_that_can_not_work_are_refused_without_connecting() {
    for (url, word) in [
        ("postgres://app:hunter2@a/db?sslmodus=off", "sslmodus"),
        ("mysql://app:hunter2@a/db", "postgres://"),
        ("postgres://app:hunter2@a,a/db", "twice"),
    ] {
        let settings = PostgresSettings::new(Secret::new(url));
        let error = Postgres::new("ledger", settings, &Context::standalone()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StartError::Configuration { .. }));
        assert!(text.contains("postgres.ledger") && text.contains(word), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_worth_another_try() {
    let mut settings = PostgresSettings::new(Secret::new("postgres://app:hunter2@127.0.0.1:1/db"));
    settings.timeout = hafnium_core::config::Duration::from_millis(300);
    let cx = Context::standalone();
    let postgres = Postgres::new("ledger", settings, &cx).unwrap();
    let begun = Instant::now();
    let error = postgres.start(&cx).await.unwrap_err();
    assert!(
        error.retryable() && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_millis(600));
    let error = sqlx::query("SELECT 1").execute(&postgres).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
}

#[tokio::test]
async fn stop_waits_for_what_is_in_flight_names_what_is_late_and_refuses_the_rest() {
    let postgres = connect(settings("stopping").await).await;
    let worker = postgres.clone();
    let quick = tokio::spawn(async move { sqlx::query("SELECT pg_sleep(0.3)").execute(&worker).await });
    running(&postgres).await;
    let stopped = postgres.stop(Deadline::after(Duration::from_secs(2))).await;
    assert!(stopped.stragglers().is_empty(), "{stopped:?}");
    quick.await.unwrap().unwrap();
    let error = sqlx::query("SELECT 1").execute(&postgres).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::Closed)));

    let postgres = connect(settings("late").await).await;
    let worker = postgres.clone();
    let late = tokio::spawn(async move { sqlx::query("SELECT pg_sleep(3)").execute(&worker).await });
    running(&postgres).await;
    let begun = Instant::now();
    let stopped = postgres.stop(Deadline::after(Duration::from_millis(300))).await;
    assert_eq!(stopped.stragglers().len(), 1, "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_millis(600));
    let error = late.await.unwrap().unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::Cut { reason, .. }) if reason.contains("closing")),
        "{error}"
    );
}

fn migration(version: i64, sql: &'static str) -> Migration {
    Migration::new(
        version,
        "test".into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    )
}

fn migrator(versions: &[i64]) -> Migrator {
    let one = |version: &i64| migration(*version, "INSERT INTO t VALUES (1)");
    Migrator::with_migrations(versions.iter().map(one).collect())
}

#[tokio::test]
async fn migrations_run_once_from_many_and_a_rolled_back_program_still_starts() {
    let postgres = connect(settings("migrations").await).await;
    sqlx::query("CREATE TABLE t (id int)")
        .execute(&postgres)
        .await
        .unwrap();
    let new = migrator(&[1, 2, 3]);
    let runs = futures_util::future::join_all((0..4).map(|_| postgres.migrate(&new))).await;
    let applied: usize = runs.into_iter().map(|run| run.unwrap().applied.len()).sum();
    assert_eq!(applied, 3);
    assert_eq!(count(&postgres).await, 3);

    let old = postgres.migrate(&migrator(&[1, 2])).await.unwrap();
    assert_eq!((old.applied.len(), old.ahead), (0, vec![3]));
    let error = postgres.migrate(&migrator(&[1, 3])).await.unwrap_err();
    assert!(
        matches!(
            error,
            MigrationError::Missing {
                version: 2,
                newest: 3
            }
        ),
        "{error}"
    );
    let mut broken: Vec<Migration> = new.iter().cloned().collect();
    broken.push(migration(4, "INSERT INTO nowhere VALUES (1)"));
    let error = postgres
        .migrate(&Migrator::with_migrations(broken))
        .await
        .unwrap_err();
    assert!(
        matches!(error, MigrationError::Failed { version: 4, .. }),
        "{error}"
    );
    assert_eq!(postgres.migrate(&new).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_migration_that_was_applied_in_part_is_named_and_no_other_is_applied() {
    let postgres = connect(settings("dirty").await).await;
    sqlx::query("CREATE TABLE t (id int)")
        .execute(&postgres)
        .await
        .unwrap();
    postgres.migrate(&migrator(&[1, 2])).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET success = false WHERE version = 2")
        .execute(&postgres)
        .await
        .unwrap();
    let error = postgres.migrate(&migrator(&[1, 2, 3])).await.unwrap_err();
    assert!(matches!(error, MigrationError::Dirty(2)), "{error}");
    assert!(error.to_string().contains("repair the database"), "{error}");
    assert_eq!((error.outcome(), error.retryable()), (Outcome::NotRun, false));
    assert_eq!(count(&postgres).await, 2);
}

#[tokio::test]
async fn transaction_control_on_the_handle_is_refused_and_a_script_leaves_no_transaction_behind() {
    let postgres = with_table("control").await;
    let error = sqlx::query("BEGIN").execute(&postgres).await.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::TransactionControl)),
        "{error}"
    );
    sqlx::raw_sql("BEGIN; INSERT INTO t VALUES (1)")
        .execute(&postgres)
        .await
        .unwrap();
    assert_eq!(count(&postgres).await, 0);
}

/// A transaction compiles inside an axum handler: its future is `Send`, with captures by reference.
#[tokio::test]
async fn a_transaction_works_in_an_axum_handler() {
    use axum::extract::State;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn handler(State(postgres): State<Postgres>) -> String {
        let id = 4;
        let inserted = postgres
            .transaction(async |mut tx| -> Result<i64, sqlx::Error> {
                insert(&mut tx, id).await?;
                sqlx::query_scalar("SELECT count(*) FROM t")
                    .fetch_one(&mut *tx)
                    .await
            })
            .await;
        inserted.map_or_else(|error| error.to_string(), |count| count.to_string())
    }

    let postgres = with_table("axum").await;
    let router: axum::Router = axum::Router::new()
        .route("/", axum::routing::get(handler))
        .with_state(postgres);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n1"),
        "{answer}"
    );
    server.abort();
}
