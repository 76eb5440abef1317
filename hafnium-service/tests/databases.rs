//! A service with two databases: both are used by their names, and `check` counts what they take of their server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use hafnium_testkit::postgres::PostgresCluster;
use support::{Launch, http};

const LIMIT: Duration = Duration::from_secs(60);

fn databases(cluster: &PostgresCluster, ledger: &str, audit: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", "databases")
        .variable("HAFNIUM__POSTGRES__LEDGER__URL", plain(&cluster.url(ledger)))
        .variable("HAFNIUM__POSTGRES__AUDIT__URL", plain(&cluster.url(audit)))
        .variable("HAFNIUM__POSTGRES__AUDIT__MAX", "4")
}

/// The server has no certificate, and the default outside `dev` is `verify-full`.
fn plain(url: &str) -> String {
    format!("{url}?sslmode=disable")
}

#[tokio::test]
async fn two_databases_are_used_by_their_names_and_counted_together() {
    let cluster = PostgresCluster::single().await.unwrap();
    for name in ["ledger_of_test", "audit_of_test"] {
        cluster.create_database(name).await.unwrap();
    }
    let launch = || databases(&cluster, "ledger_of_test", "audit_of_test");
    let mut service = launch().start();
    service.ready(LIMIT).await;
    for name in ["ledger", "audit"] {
        let answer = service.ask(http::get(format!("/{name}"))).await;
        assert_eq!(answer.body, format!("{name}_of_test"));
    }
    service.stop(LIMIT).await.exited(0);

    // 10 and 4 connections, and one for each probe. The kit starts servers with 200, of which 3 are reserved.
    for (replicas, said) in [
        (
            None,
            "postgres.ledger and postgres.audit: a process opens up to 16 of 197 connections",
        ),
        (
            Some("3"),
            "postgres.ledger and postgres.audit: 3 replicas open up to 48 of 197 connections",
        ),
        (
            Some("13"),
            "warning: postgres.ledger and postgres.audit: 13 replicas open up to 208 connections",
        ),
    ] {
        let launch = launch().argument("check");
        let launch = match replicas {
            Some(replicas) => launch.variable("HAFNIUM__REPLICAS", replicas),
            None => launch,
        };
        let ended = launch.finish(LIMIT).await;
        ended.exited(0);
        assert!(
            ended.stdout.lines().any(|line| line.starts_with(said)),
            "{ended:?}"
        );
        let grant = format!("GRANT pg_read_all_stats TO {}", cluster.user());
        assert!(ended.stdout.contains(&grant), "{ended:?}");
    }
}
