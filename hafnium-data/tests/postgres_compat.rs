//! What users write with sqlx, on the handle: macros, builders, streams, types, COPY, migrations, a dedicated connection.
//!
//! The macros are checked against `hafnium-data/.sqlx`. After a change of a query or of `tests/compat/migrations`, renew
//! it with a database that has these migrations:
//! `SQLX_OFFLINE=false DATABASE_URL=… SQLX_OFFLINE_DIR=$PWD/hafnium-data/.sqlx cargo check --all-features --test postgres_compat`

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Dedicated, Detail, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use serde::{Deserialize, Serialize};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::types::{Json, Uuid};
use sqlx::{Executor, QueryBuilder};
use tokio::sync::OnceCell;
use tokio::time::Instant;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();
static MIGRATIONS: Migrator = sqlx::migrate!("tests/compat/migrations");

async fn connect(database: &str, max: u32) -> Postgres {
    let cluster = CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
        .await;
    let url = cluster.create_database(database).await.expect("a database");
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = max;
    // What is asked for here does not take long, but the machine may be busy.
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    let postgres = Postgres::connect(settings, &Context::standalone())
        .await
        .expect("connects");
    postgres.migrate(&MIGRATIONS).await.expect("migrates");
    postgres
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "grade", rename_all = "lowercase")]
enum Grade {
    Plain,
    Gold,
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Account {
    id: i64,
    owner: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    stars: u8,
}

#[tokio::test]
async fn the_checked_macros_take_the_handle_its_views_and_a_transaction() {
    let ledger = connect("macros", 2).await;
    let inserted = sqlx::query!("INSERT INTO accounts (id, owner) VALUES ($1, $2)", 7_i64, "Ada")
        .execute(&ledger)
        .await
        .unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    let row = sqlx::query!("SELECT owner, tags FROM accounts WHERE id = $1", 7_i64)
        .fetch_one(&ledger.reader())
        .await
        .unwrap();
    assert_eq!((row.owner.as_str(), row.tags.len()), ("Ada", 0));
    let account = sqlx::query_as!(Account, "SELECT id, owner FROM accounts")
        .fetch_optional(&ledger.idempotent())
        .await
        .unwrap();
    let expected = Account {
        id: 7,
        owner: "Ada".into(),
    };
    assert_eq!(account, Some(expected));
    let count: i64 = ledger
        .transaction(async |mut tx| {
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM accounts"#)
                .fetch_one(&mut *tx)
                .await
        })
        .await
        .unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn builders_streams_and_prepared_statements_take_the_handle() {
    let ledger = connect("builders", 2).await;
    let mut insert = QueryBuilder::new("INSERT INTO accounts (id, owner) ");
    insert.push_values(1..=100_i64, |mut row, id| {
        row.push_bind(id).push_bind(format!("owner {id}"));
    });
    assert_eq!(
        insert.build().execute(&ledger).await.unwrap().rows_affected(),
        100
    );

    let mut ids = sqlx::query_as::<_, Account>("SELECT id, owner FROM accounts ORDER BY id").fetch(&ledger);
    let mut seen = 0;
    while let Some(account) = ids.next().await {
        seen += 1;
        assert_eq!(account.unwrap().id, seen);
    }
    drop(ids);
    assert_eq!(seen, 100);

    let prepared = ledger
        .prepare(sqlx::SqlSafeStr::into_sql_str(
            "SELECT owner FROM accounts WHERE id = $1",
        ))
        .await
        .unwrap();
    use sqlx::Statement;
    let row = prepared.query().bind(3_i64).fetch_one(&ledger).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "owner 3");

    let steps: Vec<_> = sqlx::raw_sql("SELECT 1; SELECT 2")
        .fetch_many(&ledger)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(steps.iter().filter(|step| step.is_right()).count(), 2);
}

#[tokio::test]
async fn types_of_the_users_choice_go_in_and_come_out() {
    let ledger = connect("types", 2).await;
    let (key, opened) = (Uuid::from_u128(7), DateTime::<Utc>::from_timestamp_nanos(1_000));
    let note = Json(Note {
        text: "regular".into(),
        stars: 5,
    });
    let tags = vec!["a".to_owned(), "b".to_owned()];
    let insert = "INSERT INTO accounts (id, owner, grade, tags, note, opened, key) VALUES (1, 'Ada', $1, $2, $3, $4, $5)";
    sqlx::query(insert)
        .bind(Grade::Gold)
        .bind(&tags)
        .bind(&note)
        .bind(opened)
        .bind(key)
        .execute(&ledger)
        .await
        .unwrap();
    type Row = (Grade, Vec<String>, Json<Note>, DateTime<Utc>, Uuid);
    let found: Row = sqlx::query_as("SELECT grade, tags, note, opened, key FROM accounts")
        .fetch_one(&ledger.reader())
        .await
        .unwrap();
    assert_eq!(found, (Grade::Gold, tags, note, opened, key));
    let plain: Option<i64> = sqlx::query_scalar("SELECT id FROM accounts WHERE grade = ANY($1)")
        .bind(vec![Grade::Plain])
        .fetch_optional(&ledger)
        .await
        .unwrap();
    assert_eq!(plain, None);
}

async fn count(ledger: &Postgres) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM accounts")
        .fetch_one(ledger)
        .await
        .unwrap()
}

#[tokio::test]
async fn copy_goes_in_and_out_and_stores_nothing_when_its_data_fail() {
    let ledger = connect("copies", 2).await;
    let mut session = ledger.acquire().await.unwrap();
    let rows = (1..=10_000).map(|id| Ok(format!("{id}\towner {id}\n")));
    let stored = session
        .copy_in("COPY accounts (id, owner) FROM STDIN", stream::iter(rows))
        .await
        .unwrap();
    assert_eq!(stored, 10_000);

    let failing = [Ok("20000\tnobody\n"), Err(sqlx::Error::WorkerCrashed)];
    let error = session
        .copy_in("COPY accounts (id, owner) FROM STDIN", stream::iter(failing))
        .await
        .unwrap_err();
    assert!(matches!(error, sqlx::Error::WorkerCrashed), "{error}");
    let doubled = session
        .copy_in(
            "COPY accounts (id, owner) FROM STDIN",
            stream::iter([Ok("1\tagain\n")]),
        )
        .await
        .unwrap_err();
    assert_eq!(classify(&doubled).code(), "postgres.23505");
    assert_eq!(classify(&doubled).outcome(), Outcome::RolledBack);

    // The same connection still answers, and answers what it is asked.
    let out: Vec<_> = session
        .copy_out("COPY (SELECT id FROM accounts ORDER BY id) TO STDOUT")
        .try_collect()
        .await
        .unwrap();
    let text = String::from_utf8(out.concat()).unwrap();
    let expected: String = (1..=10_000).map(|id| format!("{id}\n")).collect();
    assert_eq!(text, expected);
    let answer: i32 = sqlx::query_scalar("SELECT 42")
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert_eq!(answer, 42);

    let refused: Result<Vec<_>, _> = session
        .copy_out("COPY nowhere TO STDOUT")
        .try_collect::<Vec<_>>()
        .await;
    assert_eq!(classify(&refused.unwrap_err()).code(), "postgres.42");
    let after = sqlx::query("SELECT 1").execute(&mut session).await.unwrap_err();
    assert!(matches!(detail(&after), Some(Detail::Spent { .. })), "{after}");
    drop(session);
    assert_eq!(count(&ledger).await, 10_000);
}

async fn backend(session: &mut Dedicated) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(session)
        .await
        .unwrap()
}

/// What a session can keep.
async fn leave_traces(session: &mut Dedicated) {
    for statement in [
        "SET search_path = nowhere",
        "SET work_mem = '1MB'",
        "CREATE TEMP TABLE trace (id int)",
        "PREPARE trace AS SELECT 1",
        "LISTEN trace",
        "SELECT pg_advisory_lock(7)",
    ] {
        session.execute(statement).await.unwrap();
    }
    sqlx::query("SELECT $1::int")
        .bind(1)
        .execute(&mut *session)
        .await
        .unwrap();
}

const TRACES: &str = "SELECT concat_ws(', ', \
     nullif(current_setting('search_path'), '\"$user\", public'), \
     nullif(current_setting('work_mem'), '4MB'), \
     to_regclass('pg_temp.trace'), \
     (SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE name = 'trace'), \
     (SELECT string_agg(channel, ' ') FROM pg_listening_channels() AS channel), \
     (SELECT 'lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()))";

#[tokio::test]
async fn a_dedicated_connection_comes_back_without_what_its_session_kept() {
    let ledger = connect("clean", 1).await;
    let mut session = ledger.acquire().await.unwrap();
    let pid = backend(&mut session).await;
    leave_traces(&mut session).await;
    let kept: String = sqlx::query_scalar(TRACES).fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, "nowhere, 1MB, trace, trace, trace, lock");
    drop(session);

    let mut next = ledger.acquire().await.unwrap();
    assert_eq!(backend(&mut next).await, pid, "cleaned, not closed");
    let kept: String = sqlx::query_scalar(TRACES).fetch_one(&mut next).await.unwrap();
    assert_eq!(kept, "");
    // Its limits are those of the settings again.
    let limit: String = sqlx::query_scalar("SELECT current_setting('statement_timeout')")
        .fetch_one(&mut next)
        .await
        .unwrap();
    assert_eq!(limit, "21s");
}

#[tokio::test]
async fn a_dedicated_connection_in_a_transaction_or_with_a_statement_given_up_is_closed() {
    let ledger = connect("closed", 1).await;
    let mut session = ledger.acquire().await.unwrap();
    let pid = backend(&mut session).await;
    session.execute("BEGIN").await.unwrap();
    session
        .execute("INSERT INTO accounts (id, owner) VALUES (1, 'Ada')")
        .await
        .unwrap();
    drop(session);
    let mut session = ledger.acquire().await.unwrap();
    let next = backend(&mut session).await;
    assert_ne!(next, pid, "an open transaction came back");
    assert_eq!(
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM accounts")
            .fetch_one(&mut session)
            .await
            .unwrap(),
        0
    );

    let given_up = session.execute("SELECT pg_sleep(30)");
    tokio::time::timeout(Duration::from_millis(50), given_up)
        .await
        .unwrap_err();
    let error = session.execute("SELECT 1").await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::Spent { .. })), "{error}");
    drop(session);
    let mut session = ledger.acquire().await.unwrap();
    assert_ne!(backend(&mut session).await, next);
}

#[tokio::test]
async fn a_statement_on_a_dedicated_connection_ends_by_the_deadline() {
    let ledger = connect("bounded", 1).await;
    let view = ledger.within(Duration::from_millis(300));
    let mut session = view.acquire().await.unwrap();
    let begun = Instant::now();
    let error = session.execute("SELECT pg_sleep(30)").await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::Deadline { .. })), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    // The pool of one is free again.
    drop(session);
    assert_eq!(count(&ledger).await, 0);
    // And with it taken, so is the wait for it.
    let held = ledger.acquire().await.unwrap();
    let error = view.acquire().await.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::PoolTimeout { .. })),
        "{error}"
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dedicated_connection_ends_with_its_node_when_that_is_deposed() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = hafnium_core::config::Duration::from_secs(60);
    let ledger = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    let mut session = ledger.acquire().await.unwrap();
    let waiting = tokio::spawn(async move {
        let error = session.execute("SELECT pg_sleep(50)").await.unwrap_err();
        (session, error)
    });
    println!("{}", cluster.freeze(0).unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    let promoted = Instant::now();
    let (mut session, error) = waiting.await.unwrap();
    assert!(
        matches!(detail(&error), Some(Detail::Cut { reason, .. }) if reason.contains("higher timeline")),
        "{error}"
    );
    assert!(
        promoted.elapsed() < Duration::from_secs(20),
        "{:?}",
        promoted.elapsed()
    );
    assert!(session.execute("SELECT 1").await.is_err());
    let mut next = ledger.acquire().await.unwrap();
    assert!(
        next.node().ends_with(&cluster.port(1).to_string()),
        "{}",
        next.node()
    );
    next.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_library_that_demands_a_pool_gets_an_unguarded_one() {
    async fn of_a_library<'a>(database: impl sqlx::Acquire<'a, Database = sqlx::Postgres>) -> i32 {
        let mut connection = database.acquire().await.unwrap();
        sqlx::query_scalar("SELECT 7")
            .fetch_one(&mut *connection)
            .await
            .unwrap()
    }
    let ledger = connect("escape", 1).await;
    // Beside the pool of one, which is taken.
    let held = ledger.acquire().await.unwrap();
    let pool = ledger
        .unguarded_pool(PgPoolOptions::new().max_connections(1))
        .await
        .unwrap();
    assert_eq!(of_a_library(&pool).await, 7);
    pool.close().await;
    let mut connection = ledger.unguarded_connection().await.unwrap();
    assert_eq!(of_a_library(&mut connection).await, 7);
    drop(held);
}
