//! Time to the first write after a promotion: the handle, raw sqlx with its usual recipe and tokio-postgres with several
//! hosts, all three at once against the same promotion of a real trio. The primary is killed with SIGKILL; half a second
//! later the best standby is promoted. What is counted is the time from the first write that the server accepts at all
//! (the harness asks it each millisecond) to the first acknowledged write of a client.
//!
//! * sqlx: `PgPoolOptions::after_connect` (<https://docs.rs/sqlx/0.9/sqlx/pool/struct.PoolOptions.html#method.after_connect>)
//!   refuses a node in recovery; when a write fails the hosts are tried one by one until a pool opens.
//! * tokio-postgres: hosts and `target_session_attrs=read-write` in one `Config`
//!   (<https://docs.rs/tokio-postgres/0.7/tokio_postgres/config/struct.Config.html>); a failed client is replaced.
//!
//! Each has 4 tasks that write each 5 ms and try again 5 ms after a failure. A client that never writes again within 20 s
//! is `n/a`. Without `--bench` (as `cargo test` runs it) one round shows that all of them come back.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::referee::{Figures, Row};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{RwLock, mpsc};
use tokio_postgres::NoTls;
use tokio_postgres::config::TargetSessionAttrs;

const TASKS: usize = 4;
const CONNECTIONS: u32 = 8;
const EVERY: Duration = Duration::from_millis(5);
const CONNECT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
const WRITE: &str = "INSERT INTO writes DEFAULT VALUES RETURNING inet_server_port()";
const PEERS: [&str; 3] = [
    "hafnium",
    "sqlx, hosts by hand and after_connect",
    "tokio-postgres, target_session_attrs=read-write",
];

/// By whose documentation each peer is set up.
const LINKS: [&str; 2] = [
    "https://docs.rs/sqlx/0.9/sqlx/pool/struct.PoolOptions.html#method.after_connect",
    "https://docs.rs/tokio-postgres/0.7/tokio_postgres/config/struct.Config.html",
];

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let rounds: u32 = if measuring { 10 } else { 1 };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut times: [Vec<Option<f64>>; 3] = Default::default();
    for number in 1..=rounds {
        let round = runtime.block_on(round());
        println!("round {number}: {}", shown(&round));
        for (times, time) in times.iter_mut().zip(round) {
            times.push(time);
        }
    }
    if !measuring {
        for (peer, times) in PEERS.iter().zip(&times) {
            assert!(times[0].is_some(), "{peer} never wrote again");
        }
        return;
    }
    println!("{TASKS} tasks each, write each {EVERY:?}, pools of {CONNECTIONS}, connect limit {CONNECT:?}");
    for (peer, link) in PEERS[1..].iter().zip(LINKS) {
        println!("{peer}: set up as {link} says");
    }
    let medians = times.map(median);
    let mut figures = Figures::new("postgres_promotion", 0, rounds);
    for (peer, time) in PEERS.iter().zip(medians) {
        let row = Row::new("first_write_after_promotion_p50", "kill -9, promote", time, "ms");
        figures.add(if *peer == PEERS[0] {
            row
        } else {
            row.against(*peer)
        });
        if let (Some(ours), Some(theirs)) = (medians[0], time) {
            println!("{peer}: {theirs:.1} ms, ratio {:.2}", theirs / ours.max(0.1));
        } else {
            println!("{peer}: n/a");
        }
    }
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

fn shown(times: &[Option<f64>]) -> String {
    let times = times.iter().zip(PEERS).map(|(time, peer)| match time {
        Some(time) => format!("{peer}: {time:.1} ms"),
        None => format!("{peer}: n/a"),
    });
    times.collect::<Vec<_>>().join("; ")
}

/// `n/a` as soon as one round is.
fn median(times: Vec<Option<f64>>) -> Option<f64> {
    let mut times = times.into_iter().collect::<Option<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// Milliseconds to the first write of each client, in the order of [`PEERS`].
async fn round() -> [Option<f64>; 3] {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .start()
        .await
        .expect("a trio");
    let url = cluster.create_database("ledger").await.expect("a database");
    let hafnium = Postgres::connect(settings(&url), &Context::standalone())
        .await
        .expect("connects");
    sqlx::query("CREATE TABLE writes (id bigint GENERATED ALWAYS AS IDENTITY)")
        .execute(&hafnium)
        .await
        .expect("a table");
    let urls = (0..cluster.len())
        .map(|node| cluster.node_url(node, "ledger"))
        .collect();
    let by_hand = Arc::new(ByHand::open(urls).await);
    let multi_host = Arc::new(multi_host(&cluster));

    let (sender, mut acknowledged) = mpsc::channel(1024);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let postgres = hafnium.clone();
        writers.spawn(write_on(0, sender.clone(), move || by_handle(postgres.clone())));
        let by_hand = by_hand.clone();
        writers.spawn(write_on(1, sender.clone(), move || by_hand.clone().write()));
        let client = Arc::new(tokio::sync::Mutex::new(None));
        let config = multi_host.clone();
        writers.spawn(write_on(2, sender.clone(), move || {
            by_tokio(config.clone(), client.clone())
        }));
    }
    drop(sender);
    let old = i32::from(cluster.port(cluster.primary()));
    let collecting = tokio::spawn(async move {
        let mut first: [Option<Instant>; 3] = [None; 3];
        while first.iter().any(Option::is_none) {
            let Some((peer, at, port)) = acknowledged.recv().await else {
                break;
            };
            if port != old && first[peer].is_none() {
                first[peer] = Some(at);
            }
        }
        first
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{}", cluster.kill9(cluster.primary()).await.expect("a kill"));
    let readiness = cluster.watch_readiness().expect("a thread for the probes");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let promotion = cluster.promote_best().await.expect("a promotion");
    println!("{promotion}");
    let ready = readiness.first_write(LIMIT).await.expect("a node that writes");
    let ready = ready.at.min(promotion.first_write_at);

    // Ends before, once all have written. The writers hold the senders: without them the collector ends with what it has.
    let end = Instant::now() + LIMIT;
    while !collecting.is_finished() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writers.shutdown().await;
    let first = collecting.await.expect("a collector that does not panic");
    let after = |at: Instant| at.saturating_duration_since(ready);
    first.map(|at| at.map(|at| after(at).as_secs_f64() * 1000.0))
}

fn settings(url: &str) -> PostgresSettings {
    let mut settings = PostgresSettings::new(Secret::new(url.to_owned()));
    settings.max = CONNECTIONS;
    settings
}

/// Writes for ever, and tells each acknowledgement with the port of the server that gave it.
async fn write_on<F, Fut>(peer: usize, told: mpsc::Sender<(usize, Instant, i32)>, write: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<i32>>,
{
    loop {
        if let Some(port) = write().await
            && told.send((peer, Instant::now(), port)).await.is_err()
        {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn by_handle(postgres: Postgres) -> Option<i32> {
    sqlx::query_scalar(WRITE).fetch_one(&postgres).await.ok()
}

/// The recipe for sqlx: a pool on the first host that is not in recovery, sought anew when a write fails.
struct ByHand {
    urls: Vec<String>,
    pool: RwLock<PgPool>,
}

impl ByHand {
    async fn open(urls: Vec<String>) -> Self {
        let pool = Self::seek(&urls).await.expect("a primary at the start");
        Self {
            urls,
            pool: RwLock::new(pool),
        }
    }

    async fn seek(urls: &[String]) -> Option<PgPool> {
        for url in urls {
            let options = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(CONNECT)
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
                            .fetch_one(connection)
                            .await?;
                        match standby {
                            true => Err(sqlx::Error::Protocol("in recovery".into())),
                            false => Ok(()),
                        }
                    })
                });
            if let Ok(pool) = options.connect(url).await {
                return Some(pool);
            }
        }
        None
    }

    async fn write(self: Arc<Self>) -> Option<i32> {
        let pool = self.pool.read().await.clone();
        match sqlx::query_scalar(WRITE).fetch_one(&pool).await {
            Ok(port) => Some(port),
            Err(_) => {
                let mut current = self.pool.write().await;
                // Another task may have found one meanwhile.
                if current.connect_options().get_port() == pool.connect_options().get_port()
                    && let Some(found) = Self::seek(&self.urls).await
                {
                    *current = found;
                }
                None
            }
        }
    }
}

fn multi_host(cluster: &PostgresCluster) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    for node in 0..cluster.len() {
        config.host(cluster.host(node)).port(cluster.port(node));
    }
    config
        .user(cluster.user())
        .password(cluster.password())
        .dbname("ledger")
        .connect_timeout(CONNECT)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    config
}

type Slot = Arc<tokio::sync::Mutex<Option<tokio_postgres::Client>>>;

async fn by_tokio(config: Arc<tokio_postgres::Config>, slot: Slot) -> Option<i32> {
    let mut slot = slot.lock().await;
    if slot.is_none() {
        let (client, connection) = config.connect(NoTls).await.ok()?;
        // Its error reaches the client as well.
        drop(tokio::spawn(async move { drop(connection.await) }));
        *slot = Some(client);
    }
    let written = slot.as_ref()?.query_one(WRITE, &[]).await;
    match written {
        Ok(row) => row.try_get(0).ok(),
        Err(_) => {
            *slot = None;
            None
        }
    }
}
