//! Connections with TLS, or that prefer it, to a host that is a name: carried between two sockets by tasks of ours.

use std::net::IpAddr;
use std::time::Duration;

use hafnium_core::Context;
use hafnium_testkit::dns::NameServer;
use hafnium_testkit::postgres::PostgresCluster;
use tokio::time::Instant;

use super::{LONG, connect, settings};
use crate::sockets::sockets_to;

/// More than all buffers between a client and a server take.
const LARGE: usize = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_statement_that_is_given_up_leaves_no_socket_to_a_frozen_server() {
    let cluster = PostgresCluster::single().await.unwrap();
    cluster.create_database("ledger").await.unwrap();
    let names = NameServer::start().unwrap();
    let here: IpAddr = "127.0.0.1".parse().unwrap();
    names.set("ledger.example", [here], Duration::from_secs(60));
    let (user, password, port) = (cluster.user(), cluster.password(), cluster.port(0));
    let url = format!("postgres://{user}:{password}@ledger.example:{port}/ledger?sslmode=prefer");
    let mut settings = settings(url);
    settings.resolver = vec![names.address().to_string()];
    // No connection but those that the statements are on.
    (settings.max, settings.warm) = (3, 0);
    let postgres = connect(settings, &Context::standalone()).await;
    let large = "x".repeat(LARGE);
    let length = async |limit| -> Result<i32, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT length($1)").bind(&large);
        query.fetch_one(&postgres.within(limit)).await
    };
    let thrice = async |limit| futures_util::future::join_all((0..3).map(|_| length(limit))).await;
    for answer in thrice(LONG).await {
        assert_eq!(answer.unwrap(), i32::try_from(LARGE).unwrap());
    }

    println!("{}", cluster.freeze(0).unwrap());
    for error in thrice(Duration::from_secs(2)).await {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the reply to a statement"), "{error}");
    }
    // Only the monitor goes on asking the frozen node, one login at a time.
    let end = Instant::now() + Duration::from_secs(10);
    while sockets_to(port) > 1 {
        assert!(Instant::now() < end, "{} sockets", sockets_to(port));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{}", cluster.thaw(0).await.unwrap());
    assert_eq!(length(LONG).await.unwrap(), i32::try_from(LARGE).unwrap());
}
