//! `exactly_once` through failovers, with synchronous replication: two processes send every key several times, while
//! replies to COMMIT are swallowed and the primary is killed or frozen.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Done, MARKERS, Postgres, PostgresSettings};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(60);
const CALLS: usize = 3;

struct Stage {
    cluster: PostgresCluster,
    proxies: Vec<Proxy>,
    /// Two processes of one service.
    processes: [Postgres; 2],
}

async fn stage() -> Stage {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::AnyOne)
        .start()
        .await
        .unwrap();
    let mut url = cluster.create_database("ledger").await.unwrap();
    let mut proxies = Vec::new();
    for node in 0..cluster.len() {
        let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(node)));
        let proxy = Proxy::start(server).unwrap();
        url = url.replace(&server.to_string(), &proxy.address().to_string());
        proxies.push(proxy);
    }
    let process = async || {
        let mut settings = PostgresSettings::new(Secret::new(url.clone()));
        // Longer than an operator takes on a busy machine: what fails did not fail for want of time.
        settings.timeout = hafnium_core::config::Duration::from_secs(20);
        Postgres::connect(settings, &Context::standalone()).await.unwrap()
    };
    let processes = [process().await, process().await];
    sqlx::raw_sql(MARKERS).execute(&processes[0]).await.unwrap();
    // Nothing keeps an effect from being there twice but what is tested.
    sqlx::query("CREATE TABLE effects (key int NOT NULL)")
        .execute(&processes[0])
        .await
        .unwrap();
    Stage {
        cluster,
        proxies,
        processes,
    }
}

async fn act(postgres: &Postgres, key: i32) -> Result<Done<i32>, sqlx::Error> {
    postgres
        .exactly_once(&format!("effects/{key}"), async |mut tx| {
            sqlx::query("INSERT INTO effects VALUES ($1)")
                .bind(key)
                .execute(&mut *tx)
                .await?;
            Ok(key)
        })
        .await
}

/// What the calls of each key answered.
type Answers = BTreeMap<i32, Vec<Result<Done<i32>, String>>>;

#[derive(Default)]
struct Load {
    next: AtomicI32,
    stop: AtomicBool,
    answers: Mutex<Answers>,
}

impl Load {
    fn start(processes: &[Postgres; 2]) -> (Arc<Self>, Vec<tokio::task::JoinHandle<()>>) {
        let load = Arc::new(Self::default());
        let workers = (0..4)
            .map(|_| tokio::spawn(load.clone().work(processes.clone())))
            .collect();
        (load, workers)
    }

    async fn work(self: Arc<Self>, processes: [Postgres; 2]) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.next.fetch_add(1, Ordering::Relaxed);
            let calls = (0..CALLS).map(|call| {
                let postgres = &processes[call % 2];
                async move {
                    // One at once on each process, one when they may have ended.
                    tokio::time::sleep(Duration::from_millis(if call < 2 { 0 } else { 10 })).await;
                    act(postgres, key).await.map_err(|error| error.to_string())
                }
            });
            let answers = futures_util::future::join_all(calls).await;
            self.answers.lock().unwrap().insert(key, answers);
        }
    }

    async fn more(&self, keys: usize, processes: &[Postgres; 2]) {
        let goal = self.answers.lock().unwrap().len() + keys;
        let end = Instant::now() + LONG;
        while self.answers.lock().unwrap().len() < goal {
            assert!(
                Instant::now() < end,
                "no more keys come through: {:?}",
                processes.each_ref().map(Postgres::nodes)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Swallows the reply to one COMMIT after the other on every node; dropped with the test.
fn swallow(proxies: Arc<Vec<Proxy>>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            for proxy in proxies.iter() {
                proxy.swallow_reply_to("COMMIT");
            }
            // Seldom enough that a look-up on a busy machine gets through.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

/// The tests take turns: each keeps its clients asking all nodes every few milliseconds.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs the load through `fault`, which makes another node the primary, and compares.
async fn through(fault: impl AsyncFn(&PostgresCluster)) {
    let _turn = TURN.lock().await;
    let Stage {
        cluster,
        proxies,
        processes,
    } = stage().await;
    let proxies = Arc::new(proxies);
    let (load, workers) = Load::start(&processes);
    let swallowing = swallow(proxies.clone());
    load.more(40, &processes).await;
    fault(&cluster).await;
    load.more(40, &processes).await;
    swallowing.abort();
    load.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }

    let session = cluster.connect(cluster.primary(), "ledger").await.unwrap();
    let rows = session
        .query("SELECT key, count(*) FROM effects GROUP BY key", &[])
        .await
        .unwrap();
    let effects: BTreeMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let answers = std::mem::take(&mut *load.answers.lock().unwrap());
    let resets: u64 = proxies.iter().map(|proxy| proxy.counters().resets).sum();
    println!(
        "{} keys, {} calls, {resets} replies to COMMIT swallowed",
        answers.len(),
        answers.len() * CALLS
    );
    assert!(resets >= 4, "too few replies were swallowed for a test");
    for (key, answers) in &answers {
        assert!(answers.iter().all(Result::is_ok), "{key}: {answers:?}");
        let now = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Done::Now(_))))
            .count();
        assert_eq!(now, 1, "{key}: {answers:?}");
        assert_eq!(effects.get(key), Some(&1), "{key}: {answers:?}");
    }
    assert_eq!(effects.len(), answers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_takes_effect_once_through_swallowed_replies_kill_9_and_a_promotion() {
    through(async |cluster| {
        println!("{}", cluster.kill9(cluster.primary()).await.unwrap());
        println!("{}", cluster.promote_best().await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_takes_effect_once_through_a_frozen_primary_that_thaws_deposed() {
    through(async |cluster| {
        let old = cluster.primary();
        println!("{}", cluster.freeze(old).unwrap());
        let standby = cluster.best_standby().await.unwrap();
        println!("{}", cluster.promote(standby).await.unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("{}", cluster.thaw(old).await.unwrap());
    })
    .await;
}

/// A backend that waits for synchronous replication can be made to give up: its commit is then visible on the primary
/// and on no standby. A look-up that vouches for it at once vouches for what the next failover loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_looked_up_is_answered_when_a_standby_has_it() {
    let Stage {
        cluster,
        proxies: _forwarding,
        processes,
    } = stage().await;
    let session = cluster.connect(0, "ledger").await.unwrap();
    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = 'ledger'";
    let pids = async || -> Vec<i32> {
        let rows = session
            .query(&format!("SELECT pid {waiting}"), &[])
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let one_waits = async |but: Option<i32>| -> i32 {
        let end = Instant::now() + LONG;
        loop {
            match pids().await[..] {
                [pid] if Some(pid) != but => return pid,
                _ => assert!(Instant::now() < end, "no COMMIT waits for a standby"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let marked = "SELECT count(*) FROM hafnium_markers WHERE key = 'effects/1'";
    for node in cluster.standbys() {
        println!("{}", cluster.freeze(node).unwrap());
    }
    let call = tokio::spawn({
        let postgres = processes[0].clone();
        async move { act(&postgres, 1).await }
    });
    let first = one_waits(None).await;
    let ended = session
        .query_one("SELECT pg_terminate_backend($1)", &[&first])
        .await
        .unwrap();
    assert!(ended.get::<_, bool>(0));
    let second = one_waits(Some(first)).await;
    assert_eq!(
        session.query_one(marked, &[]).await.unwrap().get::<_, i64>(0),
        1,
        "it is visible"
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!call.is_finished(), "answered before any standby has it");
    assert_eq!(pids().await, [second]);
    for node in cluster.standbys() {
        println!("{}", cluster.thaw(node).await.unwrap());
    }
    assert_eq!(call.await.unwrap().unwrap(), Done::Now(1));
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote_best().await.unwrap());
    assert_eq!(act(&processes[1], 1).await.unwrap(), Done::Before);
    let session = cluster.connect(cluster.primary(), "ledger").await.unwrap();
    let effects = session
        .query_one("SELECT count(*) FROM effects WHERE key = 1", &[])
        .await
        .unwrap();
    assert_eq!(effects.get::<_, i64>(0), 1);
}
