//! Which nodes are believed when they contradict each other.

use std::time::Duration;

use hafnium_core::Context;
use hafnium_data::postgres::{Detail, Postgres, detail};
use hafnium_testkit::postgres::PostgresCluster;

use super::{connect, settings, trio, until};

/// Two nodes of one cluster, and a node that was made anew: the same user and database, and nothing in it.
async fn contradicting() -> (PostgresCluster, PostgresCluster, Vec<String>) {
    let real = PostgresCluster::builder().standbys(1).start().await.unwrap();
    real.create_database("ledger").await.unwrap();
    let anew = PostgresCluster::single().await.unwrap();
    anew.create_database("ledger").await.unwrap();
    let session = anew.connect(0, "postgres").await.unwrap();
    let same = format!("ALTER ROLE \"{}\" PASSWORD '{}'", anew.user(), real.password());
    session.batch_execute(&same).await.unwrap();
    assert_eq!(anew.user(), real.user());
    let hosts = [anew.port(0), real.port(0), real.port(1)];
    (real, anew, hosts.map(|port| format!("127.0.0.1:{port}")).into())
}

fn url(real: &PostgresCluster, hosts: &[&str]) -> String {
    let (user, password) = (real.user(), real.password());
    format!("postgres://{user}:{password}@{}/ledger", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_made_anew_gets_no_writes_wherever_it_stands_in_the_url() {
    let (real, _anew, hosts) = contradicting().await;
    let [a, b, c] = [0, 1, 2].map(|host| hosts[host].as_str());
    for order in [[a, b, c], [b, a, c], [b, c, a]] {
        let postgres = connect(settings(url(&real, &order)), &Context::standalone()).await;
        let port: i32 = sqlx::query_scalar("SELECT inet_server_port()")
            .fetch_one(&postgres)
            .await
            .unwrap();
        assert_eq!(port, i32::from(real.port(0)), "{order:?}");
    }
    // One against one: nobody can tell.
    for order in [[a, b], [b, a]] {
        let mut settings = settings(url(&real, &order));
        settings.timeout = Duration::from_secs(3).into();
        let error = Postgres::connect(settings, &Context::standalone())
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("different clusters"), "{error}");
        assert!(error.contains(a) && error.contains(b), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_split_brain_nobody_reads_either() {
    let (cluster, url) = trio().await;
    let postgres = connect(settings(url), &Context::standalone()).await;
    let token = postgres.transaction(async |tx| -> Result<_, sqlx::Error> { Ok(tx.token()) });
    let token = token.await.unwrap().get().unwrap();
    println!("{}", cluster.kill9(0).await.unwrap());
    for node in [1, 2] {
        println!("{}", cluster.promote(node).await.unwrap());
    }
    println!("{}", cluster.rejoin_as_standby(0).await.unwrap());
    until("the split", || {
        let roles = postgres.nodes();
        roles[0].role == "standby" && roles[1..].iter().all(|node| node.role == "primary")
    })
    .await;
    let short = postgres.within(Duration::from_millis(300));
    for view in [
        short.clone(),
        short.read_only(),
        short.reader(),
        short.reader_after(token),
    ] {
        let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
        assert!(error.to_string().contains("same timeline"), "{error}");
    }
}
