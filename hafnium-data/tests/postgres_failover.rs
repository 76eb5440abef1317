//! The Postgres handle while its primary is killed, frozen, deposed or doubled. Real servers, one trio per test.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use tokio::time::Instant;

const POOL: u32 = 6;
const WORKERS: usize = 8;

async fn trio(synchronous: Synchronous) -> (PostgresCluster, Postgres) {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(synchronous)
        .start()
        .await
        .unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = POOL;
    // Longer than an operator takes on a busy machine, so that what fails did not fail for want of time.
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    for table in [
        "CREATE TABLE writes (id bigint PRIMARY KEY)",
        "CREATE TABLE pairs (id bigint PRIMARY KEY)",
    ] {
        sqlx::query(table).execute(&postgres).await.unwrap();
    }
    // A failover needs no login: warm connections to the standbys too.
    let end = Instant::now() + Duration::from_secs(10);
    while postgres.nodes().iter().any(|node| node.idle < 2) {
        assert!(Instant::now() < end, "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (cluster, postgres)
}

#[derive(Clone, Copy, Debug)]
struct Ack {
    at: Instant,
    id: i64,
    port: i32,
}

/// Writes unique ids for as long as it runs: even ones as one statement, odd ones as a transaction of two.
#[derive(Default)]
struct Load {
    next: AtomicI64,
    stop: AtomicBool,
    acks: Mutex<Vec<Ack>>,
    failures: Mutex<Vec<(i64, Outcome, &'static str)>>,
}

impl Load {
    fn start(postgres: &Postgres) -> (Arc<Self>, Vec<tokio::task::JoinHandle<()>>) {
        let load = Arc::new(Self::default());
        let workers = (0..WORKERS)
            .map(|_| tokio::spawn(load.clone().work(postgres.clone())))
            .collect();
        (load, workers)
    }

    async fn work(self: Arc<Self>, postgres: Postgres) {
        while !self.stop.load(Ordering::Relaxed) {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let result = if id % 2 == 0 {
                write(&postgres, id).await
            } else {
                pair(&postgres, id).await
            };
            match result {
                Ok(port) => self.acks.lock().unwrap().push(Ack {
                    at: Instant::now(),
                    id,
                    port,
                }),
                Err(error) => {
                    let answer = classify(&error);
                    self.failures
                        .lock()
                        .unwrap()
                        .push((id, answer.outcome(), answer.code()));
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn acked(&self) -> Vec<Ack> {
        self.acks.lock().unwrap().clone()
    }

    async fn more(&self, count: usize) {
        let goal = self.acked().len() + count;
        let end = Instant::now() + Duration::from_secs(30);
        while self.acked().len() < goal {
            assert!(
                Instant::now() < end,
                "no more writes come through: {:?}",
                self.failures.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(&self, workers: Vec<tokio::task::JoinHandle<()>>) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await.unwrap();
        }
    }

    /// Compares with the tables of the node: nothing acknowledged is lost, no failure said to be undone is there, no
    /// transaction is there by half, and no more outcomes are unknown than the pool held connections.
    async fn settle(&self, cluster: &PostgresCluster, node: usize) {
        let session = cluster.connect(node, "ledger").await.unwrap();
        let read = async |table| -> BTreeSet<i64> {
            let rows = session
                .query(&format!("SELECT id FROM {table}"), &[])
                .await
                .unwrap();
            rows.iter().map(|row| row.get::<_, i64>(0)).collect()
        };
        let (writes, pairs) = (read("writes").await, read("pairs").await);
        let lost: Vec<_> = self
            .acked()
            .into_iter()
            .filter(|ack| !writes.contains(&ack.id))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let odd: BTreeSet<i64> = writes.iter().copied().filter(|id| id % 2 == 1).collect();
        assert_eq!(odd, pairs, "a transaction by half");
        let failures = self.failures.lock().unwrap().clone();
        for (id, outcome, code) in &failures {
            let wrong = *outcome != Outcome::Unknown && writes.contains(id);
            assert!(!wrong, "{id} was said to be {outcome:?} ({code}) and is there");
        }
        let unknown = failures
            .iter()
            .filter(|(_, outcome, _)| *outcome == Outcome::Unknown)
            .count();
        println!("acknowledged {}, failed {failures:?}", self.acked().len());
        assert!(unknown <= POOL as usize, "{failures:?}");
        assert_eq!(
            unknown,
            failures.len(),
            "what was not run or undone has been repeated: {failures:?}"
        );
    }
}

async fn write(postgres: &Postgres, id: i64) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("INSERT INTO writes VALUES ($1) RETURNING inet_server_port()")
        .bind(id)
        .fetch_one(postgres)
        .await
}

async fn pair(postgres: &Postgres, id: i64) -> Result<i32, sqlx::Error> {
    postgres
        .transaction(async |mut tx| {
            sqlx::query("INSERT INTO pairs VALUES ($1)")
                .bind(id)
                .execute(&mut *tx)
                .await?;
            sqlx::query_scalar("INSERT INTO writes VALUES ($1) RETURNING inet_server_port()")
                .bind(id)
                .fetch_one(&mut *tx)
                .await
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_follows_the_primary_after_kill_9_and_a_promotion() {
    let (cluster, postgres) = trio(Synchronous::AnyOne).await;
    let standbys: Vec<i32> = cluster
        .standbys()
        .into_iter()
        .map(|node| i32::from(cluster.port(node)))
        .collect();
    let reader = postgres.reader();
    let read_from = sqlx::query_scalar("SELECT inet_server_port()").fetch_one(&reader);
    let read_from: i32 = read_from.await.unwrap();
    assert!(
        standbys.contains(&read_from),
        "read from {read_from}, not one of {standbys:?}"
    );
    let (load, workers) = Load::start(&postgres);
    load.more(100).await;

    println!("{}", cluster.kill9(cluster.primary()).await.unwrap());
    let promotion = cluster.promote_best().await.unwrap();
    println!("{promotion}");
    load.more(100).await;
    load.end(workers).await;

    let port = i32::from(cluster.port(cluster.primary()));
    let first = load.acked().into_iter().find(|ack| ack.port == port).unwrap();
    println!(
        "first write {:?} after the server took its first",
        first.at.into_std().duration_since(promotion.first_write_at)
    );
    load.settle(&cluster, cluster.primary()).await;
    assert_eq!(postgres.nodes()[cluster.primary()].role, "primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_primary_acknowledges_nothing_after_its_thaw() {
    let (cluster, postgres) = trio(Synchronous::AnyOne).await;
    let old = cluster.primary();
    let (load, workers) = Load::start(&postgres);
    load.more(100).await;

    println!("{}", cluster.freeze(old).unwrap());
    let frozen = Instant::now();
    // The other standby goes on following the old primary, so that synchronous commits succeed there after the thaw.
    let standby = cluster.best_standby().await.unwrap();
    println!("{}", cluster.promote(standby).await.unwrap());
    load.more(100).await;
    println!("{}", cluster.thaw(old).await.unwrap());
    load.more(200).await;
    load.end(workers).await;

    let new = i32::from(cluster.port(standby));
    let wrong: Vec<_> = load
        .acked()
        .into_iter()
        .filter(|ack| ack.at > frozen + Duration::from_millis(50) && ack.port != new)
        .collect();
    assert!(wrong.is_empty(), "acknowledged by the deposed node: {wrong:?}");
    load.settle(&cluster, standby).await;
    assert_eq!(postgres.nodes()[old].role, "deposed");
    assert_eq!(postgres.nodes()[old].in_use, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_primaries_of_one_timeline_stop_writes_until_one_is_gone() {
    let (cluster, postgres) = trio(Synchronous::Off).await;
    cluster.kill9(0).await.unwrap();
    println!("{}", cluster.promote(1).await.unwrap());
    println!("{}", cluster.promote(2).await.unwrap());
    let end = Instant::now() + Duration::from_secs(10);
    let view = postgres.within(Duration::from_millis(500));
    let error = loop {
        assert!(Instant::now() < end, "writes go on: {:?}", postgres.nodes());
        let insert = sqlx::query("INSERT INTO writes VALUES (1) ON CONFLICT DO NOTHING");
        match insert.execute(&view).await {
            Err(error) if matches!(detail(&error), Some(Detail::NoNode { .. })) => break error,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(error.to_string().contains("same timeline"), "{error}");
    cluster.kill9(2).await.unwrap();
    write(&postgres, 2).await.unwrap();
}
