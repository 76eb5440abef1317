//! A primary whose sessions are read-only by setting, as of a provider whose storage is full, is as well as it can be.

use std::time::Duration;

use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Postgres, classify};
use hafnium_testkit::postgres::PostgresCluster;
use tokio::time::Instant;

use super::{connect, settings, suspected};
use crate::recorded::Recorded;

async fn write(postgres: &Postgres) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO t VALUES (1)");
    insert.execute(postgres).await.map(drop)
}

async fn set(cluster: &PostgresCluster, value: &str) {
    let session = cluster.connect(0, "ledger").await.unwrap();
    let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
    session.batch_execute(&set).await.unwrap();
    session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_read_only_by_setting_says_so_to_writes_and_goes_on_serving_reads() {
    let cluster = PostgresCluster::single().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let recorded = Recorded::new();
    let postgres = connect(settings(url), &recorded.context()).await;
    sqlx::query("CREATE TABLE t (id int)")
        .execute(&postgres)
        .await
        .unwrap();
    let ports = [cluster.port(0)];
    set(&cluster, "on").await;
    // Whoever is first finds it out: the node is asked once, and then known.
    let error = write(&postgres).await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    let before = suspected(&recorded, &ports);
    println!("suspected {before} times until it was known");

    let begun = Instant::now();
    let (mut refused, mut longest) = (0, Duration::ZERO);
    while refused < 100 {
        let (single, inside, read) = tokio::join!(
            write(&postgres),
            postgres.transaction(async |mut tx| -> Result<(), sqlx::Error> {
                let insert = sqlx::query("INSERT INTO t VALUES (2)");
                insert.execute(&mut *tx).await.map(drop)
            }),
            async {
                let one = Instant::now();
                let read = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM t").fetch_one(&postgres);
                (read.await, one.elapsed())
            }
        );
        assert_eq!(read.0.unwrap(), 0);
        longest = longest.max(read.1);
        for refusal in [single.unwrap_err(), inside.unwrap_err()] {
            let class = classify(&refusal);
            assert!(refusal.to_string().contains("read-only"), "{refusal}");
            assert!(class.code().contains("25006"), "{}", class.code());
            assert_eq!(class.outcome(), Outcome::NotRun);
            refused += 1;
        }
    }
    println!(
        "{refused} refused writes in {:?}, the longest read beside them {longest:?}",
        begun.elapsed()
    );
    assert_eq!(
        suspected(&recorded, &ports),
        before,
        "nobody suspects a node that is known"
    );

    set(&cluster, "off").await;
    let end = Instant::now() + super::LONG;
    while let Err(error) = write(&postgres).await {
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
