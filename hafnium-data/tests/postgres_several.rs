//! Several databases in one process, each with limits of its own; what the server is told of a session. Real servers.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Component, Context};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, detail};
use hafnium_testkit::postgres::PostgresCluster;
use sqlx::Row;
use tokio::time::Instant;

async fn start(name: &str, settings: PostgresSettings, cx: &Context) -> Postgres {
    let postgres = Postgres::new(name, settings, cx).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(error) = postgres.start(cx).await {
        assert!(Instant::now() < end, "{error}");
    }
    postgres
}

async fn sleep(postgres: &Postgres, seconds: f64) -> Result<(), sqlx::Error> {
    let slept = sqlx::query("SELECT pg_sleep($1)").bind(seconds).execute(postgres);
    slept.await.map(drop)
}

#[tokio::test]
async fn each_database_has_a_pool_and_limits_of_its_own() {
    let cluster = PostgresCluster::single().await.unwrap();
    let cx = Context::standalone();
    let mut ledger = PostgresSettings::new(Secret::new(cluster.create_database("ledger").await.unwrap()));
    ledger.max = 2;
    ledger.timeout = "2s".parse().unwrap();
    let mut audit = PostgresSettings::new(Secret::new(cluster.create_database("audit").await.unwrap()));
    audit.max = 3;
    audit.timeout = "20s".parse().unwrap();
    let (ledger, audit) = (
        start("ledger", ledger, &cx).await,
        start("audit", audit, &cx).await,
    );

    // The one is full, and the other does not notice.
    let full = (0..2).map(|_| sleep(&ledger, 1.5));
    let full = futures_util::future::join_all(full);
    let others = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let view = ledger.within(Duration::from_millis(300));
        let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
        assert!(
            matches!(detail(&error), Some(Detail::PoolTimeout { max: 2, .. })),
            "{error}"
        );
        let three = futures_util::future::join_all((0..3).map(|_| sleep(&audit, 0.3)));
        three.await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!((audit.nodes()[0].max, ledger.nodes()[0].max), (3, 2));
    };
    let (full, ()) = tokio::join!(full, others);
    full.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    for (postgres, name) in [(&ledger, "ledger"), (&audit, "audit")] {
        let current: String = sqlx::query_scalar("SELECT current_database()")
            .fetch_one(postgres)
            .await
            .unwrap();
        assert_eq!(current, name);
    }
    let mut names: Vec<_> = cx.topology().report().into_iter().map(|one| one.name).collect();
    names.sort();
    assert_eq!(names, ["postgres.audit", "postgres.ledger"]);
}

#[tokio::test]
async fn the_server_knows_who_asks_and_for_how_long_it_may_work() {
    let cluster = PostgresCluster::single().await.unwrap();
    let cx = Context::standalone();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url.clone()));
    settings.timeout = "3s".parse().unwrap();
    let shown = async |postgres: &Postgres| {
        let row = sqlx::query(
            "SELECT current_setting('statement_timeout'), \
             current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')",
        )
        .fetch_one(postgres)
        .await
        .unwrap();
        [row.get::<String, _>(0), row.get(1), row.get(2)]
    };
    let ours = start("ledger", settings.clone(), &cx).await;
    let name = format!("{}/{}", cx.service().name, cx.service().instance);
    assert_eq!(shown(&ours).await, ["4s".to_owned(), "4s".to_owned(), name]);
    settings.statement_timeout = Some("7s".parse().unwrap());
    settings.idle_in_transaction_timeout = Some("0s".parse().unwrap());
    settings.application_name = Some("written".to_owned());
    let written = start("written", settings, &cx).await;
    assert_eq!(shown(&written).await, ["7s", "0", "written"]);
    let url = format!("{url}?application_name=of_the_url&options=-c%20statement_timeout%3D9s");
    let of_url = start("url", PostgresSettings::new(Secret::new(url)), &cx).await;
    assert_eq!(shown(&of_url).await[0], "9s");
    assert_eq!(shown(&of_url).await[2], "of_the_url");
}

#[tokio::test]
async fn the_capacity_of_a_server_is_known_without_special_rights_and_the_grant_for_more_is_named() {
    let cluster = PostgresCluster::single().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = 7;
    let postgres = start("ledger", settings, &Context::standalone()).await;
    let others = cluster.connect(0, "ledger").await.unwrap();
    let seen = postgres.capacity().await.unwrap();
    // The kit starts servers with 200, and 3 are reserved.
    assert_eq!((seen.allowed, seen.per_process), (197, 8));
    assert!(seen.others >= 1, "{seen:?}");
    let grant = seen.grant.unwrap();
    assert_eq!(grant, format!("GRANT pg_read_all_stats TO {}", cluster.user()));
    others.batch_execute(&grant).await.unwrap();
    assert_eq!(postgres.capacity().await.unwrap().grant, None);
}
