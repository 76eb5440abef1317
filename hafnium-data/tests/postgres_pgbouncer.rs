//! The handle behind pgbouncer in transaction mode, with one connection of the server for everybody: whose answer comes.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

use std::time::Duration;

use futures_util::TryStreamExt;
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome, StartError};
use hafnium_data::postgres::{Detail, MigrationError, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::Proxy;
use hafnium_testkit::pgbouncer::PgBouncer;
use hafnium_testkit::postgres::PostgresCluster;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// Each client asks as often as this.
const QUESTIONS: i32 = 200;

async fn cluster() -> &'static PostgresCluster {
    CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
        .await
}

fn settings(url: &str, prepared_statements: bool) -> PostgresSettings {
    let mut settings = PostgresSettings::new(Secret::new(url.to_owned()));
    settings.prepared_statements = prepared_statements;
    // A pool of one in the pooler is slow by design, and the machine may be busy.
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    settings
}

async fn connect(url: &str, prepared_statements: bool) -> Postgres {
    Postgres::connect(settings(url, prepared_statements), &Context::standalone())
        .await
        .expect("connects through pgbouncer")
}

/// A database with a table, the installed pgbouncer before it, and a handle through it.
async fn pooled(database: &str) -> (PgBouncer, String, Postgres) {
    let cluster = cluster().await;
    let url = cluster.create_database(database).await.unwrap();
    let bouncer = PgBouncer::before(cluster, 0).start().await.unwrap();
    let url = bouncer.url(&url);
    let postgres = connect(&url, false).await;
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    (bouncer, url, postgres)
}

/// How many answers of a client were right, another's, or errors.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Answers {
    right: i32,
    wrong: i32,
    failed: i32,
}

/// Asks with SQL of its own each time, so that every question is prepared anew.
async fn ask(postgres: Postgres, name: &'static str, persistent: bool) -> Answers {
    let mut answers = Answers::default();
    for number in 0..QUESTIONS {
        let sql = format!("SELECT '{name} {number} ' || $1::text");
        let answer = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
            .bind("!")
            .persistent(persistent)
            .fetch_one(&postgres)
            .await;
        match answer {
            Ok(answer) if answer == format!("{name} {number} !") => answers.right += 1,
            Ok(_) => answers.wrong += 1,
            Err(error) => {
                if answers.failed == 0 {
                    println!("{name}: {error}");
                }
                answers.failed += 1;
            }
        }
    }
    answers
}

async fn both(first: Postgres, second: Postgres, persistent: bool) -> [Answers; 2] {
    let first = tokio::spawn(ask(first, "first", persistent));
    let second = tokio::spawn(ask(second, "second", persistent));
    let answers = [first.await.unwrap(), second.await.unwrap()];
    println!("{answers:?}");
    answers
}

async fn pid(postgres: &Postgres) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(postgres)
        .await
}

const ALL_RIGHT: Answers = Answers {
    right: QUESTIONS,
    wrong: 0,
    failed: 0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_prepared_statements_off_every_client_gets_its_own_answers() {
    let (bouncer, url, first) = pooled("own_answers").await;
    println!("pgbouncer {:?}", bouncer.version().await.unwrap());
    let second = connect(&url, false).await;
    assert_eq!(both(first.clone(), second, true).await, [ALL_RIGHT; 2]);

    // One connection of the server did it all.
    let mut pids = std::collections::BTreeSet::new();
    for pid in futures_util::future::join_all((0..10).map(|_| pid(&first))).await {
        let pid = pid.unwrap_or_else(|error| panic!("{error}\n{}", bouncer.log_tail()));
        pids.insert(pid);
    }
    assert_eq!(pids.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_clients_get_the_answers_of_others() {
    let cluster = cluster().await;
    let url = cluster.create_database("mixed_up").await.unwrap();
    let bouncer = PgBouncer::before(cluster, 0)
        .ignore_startup_parameters("options")
        .start()
        .await
        .unwrap();
    let url = bouncer.url(&url);
    let (first, second) = (connect(&url, true).await, connect(&url, true).await);
    // On a busy machine the two may take turns by chance.
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        // Unnamed statements: a name would be refused by the server as taken, which is an error at least.
        let answers = both(first.clone(), second.clone(), false).await;
        if answers.iter().any(|answers| answers.wrong > 0) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "nothing was mixed up, so that the other tests prove nothing: {answers:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_streams_and_types_work_for_clients_that_share_a_connection() {
    let (_bouncer, url, first) = pooled("shared").await;
    sqlx::query("CREATE TYPE grade AS ENUM ('plain', 'gold')")
        .execute(&first)
        .await
        .unwrap();
    let second = connect(&url, false).await;
    let work = async |postgres: Postgres, from: i32| {
        for id in from..from + 50 {
            // Statements that sqlx names, in a transaction: names of the other client must not be in the way.
            let sum: i64 = postgres
                .transaction(async |mut tx| {
                    sqlx::query("INSERT INTO t VALUES ($1)")
                        .bind(id)
                        .execute(&mut *tx)
                        .await?;
                    let sql = format!("SELECT {id} + $1::int8 + count(*) - count(*) FROM t");
                    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                        .bind(1_i64)
                        .fetch_one(&mut *tx)
                        .await
                })
                .await
                .unwrap();
            assert_eq!(sum, i64::from(id) + 1);
            let grade: String = sqlx::query_scalar("SELECT $1::grade::text")
                .bind(Grade::Gold)
                .fetch_one(&postgres)
                .await
                .unwrap();
            assert_eq!(grade, "gold");
        }
    };
    tokio::join!(work(first.clone(), 1000), work(second, 2000));
    let ids: Vec<i32> = sqlx::query_scalar::<_, i32>("SELECT id FROM t WHERE id >= $1 ORDER BY id")
        .bind(0)
        .fetch(&first)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(ids.len(), 100);
}

#[derive(sqlx::Type)]
#[sqlx(type_name = "grade", rename_all = "lowercase")]
enum Grade {
    Gold,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_leaves_the_shared_connection_clean_and_tells_its_outcome() {
    let (_bouncer, _url, postgres) = pooled("errors").await;
    let insert = async || {
        sqlx::query("INSERT INTO t VALUES ($1)")
            .bind(1)
            .execute(&postgres)
            .await
    };
    insert().await.unwrap();
    let doubled = insert().await.unwrap_err();
    assert_eq!(classify(&doubled).code(), "postgres.23505");
    assert_eq!(classify(&doubled).outcome(), Outcome::RolledBack);
    // Found out at COMMIT only.
    sqlx::query("CREATE TABLE child (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
        .execute(&postgres)
        .await
        .unwrap();
    let orphan = sqlx::query("INSERT INTO child VALUES ($1)")
        .bind(99)
        .execute(&postgres)
        .await
        .unwrap_err();
    assert_eq!(classify(&orphan).code(), "postgres.23503");
    assert_eq!(classify(&orphan).outcome(), Outcome::RolledBack);
    let left: (i64, i64) = sqlx::query_as("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM child)")
        .fetch_one(&postgres)
        .await
        .unwrap();
    assert_eq!(left, (1, 0));
    // What can't run inside a transaction goes as text.
    let refused = sqlx::query("VACUUM t").execute(&postgres).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("25001")
    );
    sqlx::raw_sql("VACUUM t").execute(&postgres).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_of_commit_is_the_outcome_of_the_statement() {
    let (bouncer, url, watcher) = pooled("commit").await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", bouncer.port()).parse().unwrap()).unwrap();
    let address = format!("127.0.0.1:{}", bouncer.port());
    let postgres = connect(&url.replace(&address, &proxy.address().to_string()), false).await;
    let insert = async |id: i32| {
        sqlx::query("INSERT INTO t VALUES ($1)")
            .bind(id)
            .execute(&postgres)
            .await
    };
    insert(1).await.unwrap();
    let stored = async |id: i32| -> bool {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM t WHERE id = $1)")
            .bind(id)
            .fetch_one(&watcher)
            .await
            .unwrap()
    };

    proxy.swallow_reply_to("COMMIT");
    let error = insert(2).await.unwrap_err();
    println!("{error}; {:?}", proxy.counters());
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    assert!(stored(2).await, "it took effect, and nobody could know");

    // Lost before COMMIT was sent: certainly undone, so that it is run again, once.
    let before = proxy.counters();
    proxy.swallow_reply_to("INSERT INTO t");
    insert(3).await.unwrap();
    println!("{before:?} -> {:?}", proxy.counters());
    assert!(
        proxy.counters().resets > before.resets,
        "the connection was not lost"
    );
    assert!(stored(3).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_inside_the_transaction_and_are_left_behind_with_it() {
    let (_bouncer, _url, postgres) = pooled("limits").await;
    const LIMITS: &str = "SELECT current_setting('statement_timeout') || ' ' || \
                          current_setting('idle_in_transaction_session_timeout')";
    let enclosed: String = sqlx::query_scalar(LIMITS).fetch_one(&postgres).await.unwrap();
    assert_eq!(enclosed, "21s 21s");
    let in_transaction: String = postgres
        .transaction(async |mut tx| sqlx::query_scalar(LIMITS).fetch_one(&mut *tx).await)
        .await
        .unwrap();
    assert_eq!(in_transaction, "21s 21s");
    let row = sqlx::raw_sql(LIMITS).fetch_one(&postgres).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "0 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_session_is_refused_and_says_why() {
    let (_bouncer, url, postgres) = pooled("sessions").await;
    let migrations = Migrator::DEFAULT;
    let refusals = [
        postgres.acquire().await.err().unwrap(),
        postgres.listen(["news"]).await.err().unwrap(),
        postgres.unguarded_pool(PgPoolOptions::new()).await.err().unwrap(),
        postgres.unguarded_connection().await.err().unwrap(),
        match postgres.migrate(&migrations).await {
            Err(MigrationError::Database(error)) => error,
            other => panic!("{other:?}"),
        },
    ];
    for error in &refusals {
        assert!(
            matches!(detail(error), Some(Detail::NeedsSession { .. })),
            "{error}"
        );
        assert_eq!(classify(error).outcome(), Outcome::NotRun);
    }
    let named = format!("{url}?options=-c%20search_path%3Drisk");
    match Postgres::new("ledger", settings(&named, false), &Context::standalone()) {
        Err(StartError::Configuration { reason, .. }) => {
            assert!(reason.contains("ALTER ROLE"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_refuses_start_up_options_is_told_of_by_name() {
    let cluster = cluster().await;
    let url = cluster.create_database("refused").await.unwrap();
    let bouncer = PgBouncer::before(cluster, 0).start().await.unwrap();
    let mut settings = settings(&bouncer.url(&url), true);
    settings.timeout = hafnium_core::config::Duration::from_secs(1);
    let error = Postgres::connect(settings, &Context::standalone())
        .await
        .unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("startup parameter"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recent_pgbouncer_keeps_prepared_statements() {
    let cluster = cluster().await;
    let url = cluster.create_database("recent").await.unwrap();
    let bouncer = PgBouncer::before(cluster, 0)
        .max_prepared_statements(100)
        .ignore_startup_parameters("options")
        .start_recent()
        .await
        .unwrap();
    println!("pgbouncer {:?}", bouncer.version().await.unwrap());
    assert!(bouncer.version().await.unwrap() >= (1, 21));
    let url = bouncer.url(&url);
    let (first, second) = (connect(&url, true).await, connect(&url, true).await);
    assert_eq!(both(first.clone(), second.clone(), true).await, [ALL_RIGHT; 2]);

    // They are prepared statements of the server's, under names of pgbouncer's.
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER%'")
            .fetch_one(&first)
            .await
            .unwrap();
    assert!(kept > 1, "{kept} statements are kept");

    // It keeps named statements only. This is why the guide says: never `persistent(false)` through a pooler.
    let unnamed = both(first, second, false).await;
    assert!(
        unnamed.iter().any(|answers| answers.wrong > 0),
        "the guide is wrong: {unnamed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_through_pgbouncer_comes_back_after_the_server_was_away() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let first = PgBouncer::before(&cluster, 0).start().await.unwrap();
    let second = PgBouncer::before(&cluster, 1).start().await.unwrap();
    // A pooler before each node: they are the nodes that the handle knows.
    let url = first.url(&url);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
    let url = url.replace(&format!("127.0.0.1:{}", first.port()), &hosts);
    let postgres = connect(&url, false).await;
    let port = async || -> Result<i32, sqlx::Error> {
        sqlx::query_scalar("SELECT inet_server_port()")
            .fetch_one(&postgres.read_only())
            .await
    };
    assert_eq!(port().await.unwrap(), i32::from(cluster.port(0)));
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    assert_eq!(port().await.unwrap(), i32::from(cluster.port(1)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    sqlx::query("CREATE TABLE t (id int)")
        .execute(&postgres)
        .await
        .unwrap();
}
