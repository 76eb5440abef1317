//! A split brain that an operator decides: both standbys of a real trio are promoted and take the same timeline.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;
mod told;

use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Context, StartError};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, detail};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use recorded::Recorded;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(30);

async fn trio() -> PostgresCluster {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    cluster.create_database("ledger").await.unwrap();
    let session = cluster.connect(0, "ledger").await.unwrap();
    session
        .batch_execute("CREATE TABLE t (id int); GRANT ALL ON t TO PUBLIC")
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();
    cluster
}

fn settings(cluster: &PostgresCluster, named: Option<String>) -> PostgresSettings {
    let mut settings = PostgresSettings::new(Secret::new(cluster.url("ledger")));
    settings.timeout = LONG.into();
    settings.split_brain_primary = named;
    settings
}

/// Where a write went.
async fn written(postgres: &Postgres, limit: Duration) -> Result<u16, sqlx::Error> {
    let view = postgres.within(limit).idempotent();
    let port: i32 = sqlx::query_scalar("INSERT INTO t VALUES (1) RETURNING inet_server_port()")
        .fetch_one(&view)
        .await?;
    Ok(u16::try_from(port).unwrap())
}

async fn shown(postgres: &Postgres, node: usize, role: &str) {
    let end = Instant::now() + LONG;
    while postgres.nodes()[node].role != role || postgres.nodes()[node].state != "up" {
        assert!(
            Instant::now() < end,
            "{node} is not {role}: {:?}",
            postgres.nodes()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_the_operator_names_takes_the_writes_while_two_say_primary() {
    let told = told::listen();
    let recorded = Recorded::new();
    let cluster = trio().await;
    let named = format!("127.0.0.1:{}", cluster.port(2));
    let postgres = Postgres::connect(settings(&cluster, Some(named)), &recorded.context())
        .await
        .unwrap();
    let undecided = Postgres::connect(settings(&cluster, None), &Context::standalone())
        .await
        .unwrap();
    let lasts = |state: &str| {
        let labels = format!("state=\"{state}\"");
        recorded.value("hafnium_postgres_split_brain_ratio", &labels)
    };
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    assert_eq!(
        written(&postgres, LONG).await.unwrap(),
        cluster.port(1),
        "it says nothing without a split"
    );
    println!("{}", cluster.promote(2).await.unwrap());
    shown(&postgres, 1, "deposed").await;
    shown(&undecided, 2, "primary").await;
    let error = written(&undecided, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
    for _ in 0..100 {
        assert_eq!(written(&postgres, LONG).await.unwrap(), cluster.port(2));
    }
    assert!(told.contains("split_brain_primary names another", i32::from(cluster.port(1))));
    assert_eq!(
        (lasts("decided"), lasts("open")),
        (Some("1".into()), Some("0".into()))
    );
    assert_eq!(postgres.nodes()[1].in_use, 0);

    // While the named one is away the other one is not believed either, although it takes the writes of anyone.
    println!("{}", cluster.kill9(2).await.unwrap());
    let session = cluster.connect(1, "ledger").await.unwrap();
    session.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let error = written(&postgres, Duration::from_secs(3)).await.unwrap_err();
    // A first try may have met the end of the named one.
    assert!(error.to_string().contains("no writable primary"), "{error}");
    cluster.start(2).await.unwrap();
    assert_eq!(written(&postgres, LONG).await.unwrap(), cluster.port(2));

    // It ends with the other server.
    println!("{}", cluster.kill9(1).await.unwrap());
    let end = Instant::now() + LONG;
    while lasts("decided") != Some("0".into()) {
        assert!(Instant::now() < end, "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(written(&postgres, LONG).await.unwrap(), cluster.port(2));
}

#[test]
fn a_node_that_is_not_of_the_url_is_an_error_that_names_those_that_are() {
    for named in ["c:5432", "a:5433", "", "a:b"] {
        let mut settings =
            PostgresSettings::new(Secret::new("postgres://app@a,b:5433/ledger?sslmode=disable"));
        settings.split_brain_primary = Some(named.into());
        let error = Postgres::new("ledger", settings, &Context::standalone()).unwrap_err();
        assert!(matches!(error, StartError::Configuration { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("split_brain_primary"), "{text}");
        assert!(text.contains("one of a:5432, b:5433"), "{text}");
    }
    let mut settings = PostgresSettings::new(Secret::new("postgres://app@a,b:5433/ledger?sslmode=disable"));
    settings.split_brain_primary = Some("a".into());
    Postgres::new("ledger", settings, &Context::standalone()).unwrap();
}
