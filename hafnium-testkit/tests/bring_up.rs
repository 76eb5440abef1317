//! How long each trio takes from nothing to ready, as figures with their targets. One run in `cargo test`, five where
//! `HAFNIUM_FIGURES` is set; a miss shows in the summary of `make figures`, because a busy machine is no defect.
#![cfg(all(feature = "postgres", feature = "redis", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use std::time::Instant;

use hafnium_testkit::kafka::KafkaCluster;
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use hafnium_testkit::redis::RedisSentinel;
use hafnium_testkit::referee::{Figures, Row, Samples};

/// The slowest of `runs` starts, in seconds; each cluster is gone before the next one starts.
async fn slowest<C>(runs: u32, start: impl AsyncFn() -> Result<C, hafnium_testkit::Error>) -> Option<f64> {
    let mut samples = Samples::new();
    for _ in 0..runs {
        let begun = Instant::now();
        let cluster = start().await.unwrap();
        samples.add(begun.elapsed().as_secs_f64());
        drop(cluster);
    }
    samples.worst()
}

#[tokio::test]
async fn every_trio_comes_up_and_its_time_is_a_figure() {
    let runs = if std::env::var_os("HAFNIUM_FIGURES").is_some() {
        5
    } else {
        1
    };
    let mut figures = Figures::new("testkit", 0, runs);
    let postgres = slowest(runs, async || {
        PostgresCluster::builder()
            .standbys(2)
            .synchronous(Synchronous::AnyOne)
            .start()
            .await
    });
    let row = |case: &str, value, target| Row::new("bring_up_worst", case, value, "s").at_most(target);
    figures.add(row("Postgres trio, ANY 1", postgres.await, 15.0));
    figures.add(row(
        "Redis Sentinel trio",
        slowest(runs, RedisSentinel::start).await,
        5.0,
    ));
    figures.add(row("Kafka trio", slowest(runs, KafkaCluster::start).await, 20.0));
    println!("{figures}");
    figures.write().unwrap();
}
