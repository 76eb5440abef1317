//! What is still held of a primary that was frozen, replaced and thawed: a view, a dedicated connection, migrations.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Executor, SqlSafeStr};
use tokio::time::Instant;

/// Longer than a failover takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

struct Stage {
    cluster: PostgresCluster,
    url: String,
    /// Looks on, so that the test knows what a client can know.
    watching: Postgres,
}

async fn handle(url: &str) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = LONG.into();
    Postgres::connect(settings, &Context::standalone()).await.unwrap()
}

impl Stage {
    async fn new() -> Self {
        let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
        let url = cluster.create_database("ledger").await.unwrap();
        let watching = handle(&url).await;
        sqlx::query("CREATE TABLE t (id int)")
            .execute(&watching)
            .await
            .unwrap();
        Self {
            cluster,
            url,
            watching,
        }
    }

    /// The other node is the primary now, and every client that looks has seen it.
    async fn depose(&self) {
        println!("{}", self.cluster.freeze(0).unwrap());
        println!("{}", self.cluster.promote(1).await.unwrap());
        let end = Instant::now() + LONG;
        while self.watching.nodes()[1].role != "primary" {
            assert!(Instant::now() < end, "{:?}", self.watching.nodes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    async fn thaw(&self) {
        println!("{}", self.cluster.thaw(0).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_and_a_dedicated_connection_are_fenced_after_their_handle_is_gone() {
    let stage = Stage::new().await;
    let view = handle(&stage.url).await.within(LONG);
    let mut session = handle(&stage.url).await.acquire().await.unwrap();
    sqlx::query("SELECT 1").execute(&view).await.unwrap();
    stage.depose().await;
    stage.thaw().await;
    let late = session.execute("INSERT INTO t VALUES (1)").await;
    assert!(
        matches!(&late, Err(error) if matches!(detail(error), Some(Detail::Cut { .. }))),
        "the deposed primary acknowledged: {late:?}"
    );
    let port: i32 = sqlx::query_scalar("INSERT INTO t VALUES (2) RETURNING inet_server_port()")
        .fetch_one(&view)
        .await
        .unwrap();
    assert_eq!(
        port,
        i32::from(stage.cluster.port(1)),
        "the deposed primary wrote"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_on_a_dedicated_connection_that_was_cut_did_not_happen() {
    let stage = Stage::new().await;
    let mut idle = stage.watching.acquire().await.unwrap();
    let mut open = stage.watching.acquire().await.unwrap();
    open.execute("BEGIN").await.unwrap();
    open.execute("INSERT INTO t VALUES (1)").await.unwrap();
    stage.depose().await;
    stage.thaw().await;
    for (session, sql, outcome) in [
        (&mut idle, "INSERT INTO t VALUES (2)", Outcome::NotRun),
        (&mut open, "-- all of it\nCOMMIT", Outcome::RolledBack),
    ] {
        let error = session.execute(sql).await.unwrap_err();
        assert!(
            matches!(detail(&error), Some(Detail::Cut { .. })),
            "{sql}: {error}"
        );
        assert_eq!(classify(&error).outcome(), outcome, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_on_a_primary_that_is_replaced_meanwhile_are_not_reported_as_done() {
    let stage = Stage::new().await;
    let sql = "CREATE TABLE m (id int); SELECT pg_sleep(3)".into_sql_str();
    let migration = Migration::new(1, "slow".into(), MigrationType::Simple, sql, false);
    let ledger = stage.watching.clone();
    let migrating = tokio::spawn(async move {
        let migrator = Migrator::with_migrations(vec![migration]);
        ledger.migrate(&migrator).await
    });
    let server = stage.cluster.connect(0, "ledger").await.unwrap();
    let sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let end = Instant::now() + LONG;
    while server.query_opt(sleeping, &[]).await.unwrap().is_none() {
        assert!(Instant::now() < end, "the migration does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.depose().await;
    stage.thaw().await;
    let error = migrating.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.outcome()),
        ("postgres.cut", Outcome::Unknown)
    );
    let migrated = "SELECT to_regclass('m')::text";
    let found: Option<String> = sqlx::query_scalar(migrated)
        .fetch_one(&stage.watching)
        .await
        .unwrap();
    assert_eq!(found, None, "the new primary has it");
}
