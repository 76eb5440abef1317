//! The Redis handle under failovers: one master, two replicas and three sentinels, every fault real.

#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hafnium_core::config::Duration as Limit;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::redis::{Redis, RedisSettings, classify};
use hafnium_testkit::redis::{RedisSentinel, RedisServer};
use redis::AsyncCommands;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the writers saw.
#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    not_run: AtomicU64,
}

impl Tally {
    fn count(&self, outcome: Option<Outcome>) {
        let counter = match outcome {
            None => &self.acknowledged,
            Some(Outcome::Unknown) => &self.unknown,
            Some(_) => &self.not_run,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 3] {
        [&self.acknowledged, &self.unknown, &self.not_run].map(|n| n.load(Ordering::Relaxed))
    }
}

/// Eight tasks that write without pause, each write to a key of its own.
struct Load {
    tally: Arc<Tally>,
    ended: Arc<AtomicBool>,
    writers: JoinSet<Vec<(Instant, String)>>,
}

impl Load {
    fn start(redis: &Redis, test: &'static str) -> Self {
        let (tally, ended) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let mut writers = JoinSet::new();
        for task in 0..8 {
            let (mut redis, tally, ended) = (redis.clone(), tally.clone(), ended.clone());
            writers.spawn(async move {
                let mut written = Vec::new();
                for n in 0_u64.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{test}:{task}:{n}");
                    let begun = Instant::now();
                    match redis.set::<_, _, ()>(&key, n).await {
                        Ok(()) => {
                            tally.count(None);
                            written.push((begun, key));
                        }
                        Err(error) => tally.count(Some(classify(&error).outcome())),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                written
            });
        }
        Self {
            tally,
            ended,
            writers,
        }
    }

    /// Ends the writers; every acknowledged write and when it was begun.
    async fn end(self) -> (Vec<(Instant, String)>, [u64; 3]) {
        self.ended.store(true, Ordering::Relaxed);
        (self.writers.join_all().await.concat(), self.tally.read())
    }
}

async fn connect(cluster: &RedisSentinel, timeout: u64) -> Redis {
    let mut settings = RedisSettings::new(cluster.sentinel_url());
    settings.timeout = Limit::from_secs(timeout);
    Redis::connect(settings, &Context::standalone()).await.unwrap()
}

async fn until_primary_is_not(redis: &Redis, old: &str) -> Instant {
    let begun = Instant::now();
    while redis.primary().is_none_or(|primary| primary == old) {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

/// How many of the writes begun after `since` are not at `node`.
async fn missing(node: &RedisServer, written: &[(Instant, String)], since: Instant) -> (usize, usize) {
    let mut connection = node.connect().await.unwrap();
    let after: Vec<_> = written.iter().filter(|(begun, _)| *begun >= since).collect();
    let mut missing = 0;
    for (_, key) in &after {
        if !connection.exists::<_, bool>(key).await.unwrap() {
            missing += 1;
        }
    }
    (after.len(), missing)
}

fn row(fault: &str, later: Duration, [acknowledged, unknown, not_run]: [u64; 3]) {
    println!(
        "| {fault} | in use {later:?} after the new master took a write | {acknowledged} acknowledged | \
         {unknown} unknown | {not_run} not run |"
    );
}

// One after the other on one cluster: a trio of sentinels takes seconds to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handle_follows_every_failover_and_says_what_happened_to_each_command() {
    let cluster = RedisSentinel::start().await.unwrap();
    an_ordered_failover_fails_no_request(&cluster).await;
    a_killed_master_is_left_and_nothing_acknowledged_after_the_switch_is_lost(&cluster).await;
    a_frozen_master_gets_nothing_once_it_was_deposed(&cluster).await;
}

async fn an_ordered_failover_fails_no_request(cluster: &RedisSentinel) {
    let redis = connect(cluster, 5).await;
    let load = Load::start(&redis, "ordered");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let failover = cluster.failover().await.unwrap();
    let accepted = Instant::now();
    let switched = until_primary_is_not(&redis, &failover.before.address).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (written, counts) = load.end().await;
    println!("{failover}");
    row("SENTINEL FAILOVER", switched - accepted, counts);
    assert_eq!(&counts[1..], [0, 0], "no request failed within its 5 s");
    let master = cluster.master().await.unwrap();
    let (after, missing) = missing(master, &written, switched).await;
    assert!(after > 50, "{after} writes after the switch");
    assert_eq!(missing, 0);
    let old = cluster
        .nodes()
        .iter()
        .find(|node| node.address() == failover.before.address);
    cluster.await_replica(old.unwrap()).await.unwrap();
    cluster.await_quorum().await.unwrap();
}

async fn a_killed_master_is_left_and_nothing_acknowledged_after_the_switch_is_lost(cluster: &RedisSentinel) {
    let redis = connect(cluster, 1).await;
    let load = Load::start(&redis, "killed");
    let mut counter = redis.clone();
    let counted = Arc::new(Tally::default());
    let (theirs, ended) = (counted.clone(), load.ended.clone());
    let counting = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            let result = counter.incr::<_, _, u64>("counter", 1).await;
            theirs.count(result.err().map(|error| classify(&error).outcome()));
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let old = cluster.master().await.unwrap();
    let killed = old.kill9().await.unwrap();
    let failover = cluster.wait_for_new_master(&killed.before).await.unwrap();
    let accepted = Instant::now();
    let switched = until_primary_is_not(&redis, &killed.before.address).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (written, counts) = load.end().await;
    counting.await.unwrap();
    println!("{killed}\n{failover}");
    row("kill -9", switched - accepted, counts);

    assert!(
        switched - accepted < Duration::from_secs(1),
        "{:?}",
        switched - accepted
    );
    let master = cluster.master().await.unwrap();
    let (after, missing) = missing(master, &written, switched).await;
    assert!(after > 50, "{after} writes after the switch");
    assert_eq!(missing, 0, "of {after} writes acknowledged after the switch");
    // Replication is asynchronous, so increments acknowledged just before the kill may be gone; none may be doubled.
    let value: u64 = redis.clone().get("counter").await.unwrap();
    let [acknowledged, unknown, not_run] = counted.read();
    println!(
        "| INCR | value {value} | {acknowledged} acknowledged | {unknown} unknown | {not_run} not run |"
    );
    assert!(value <= acknowledged + unknown, "an increment was repeated");
    cluster.restart_as_replica(old).await.unwrap();
}

async fn a_frozen_master_gets_nothing_once_it_was_deposed(cluster: &RedisSentinel) {
    let redis = connect(cluster, 1).await;
    let load = Load::start(&redis, "frozen");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let old = cluster.master().await.unwrap();
    let frozen = old.freeze().await.unwrap();
    let failover = cluster.wait_for_new_master(&frozen.before).await.unwrap();
    let accepted = Instant::now();
    let switched = until_primary_is_not(&redis, &frozen.before.address).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    old.thaw().await.unwrap();
    let believes = old.identity().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let at_old: Vec<String> = match old.connect().await {
        Ok(mut connection) => connection.keys("frozen:*").await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    let (written, counts) = load.end().await;
    println!("{frozen}\n{failover}\nthawed: {believes}");
    row("SIGSTOP, SIGCONT", switched - accepted, counts);
    assert_eq!(redis.primary(), Some(failover.after.address.clone()));
    let still_apart = old.identity().await.unwrap().role == hafnium_testkit::redis::Role::Master;
    let at_old: std::collections::HashSet<_> = at_old.into_iter().collect();
    let sent = written
        .iter()
        .filter(|(begun, key)| *begun >= switched && at_old.contains(key))
        .count();
    // Once demoted it has them by replication, which proves nothing.
    assert!(
        !still_apart || sent == 0,
        "{sent} writes went to the deposed master"
    );
    println!(
        "| after the thaw | still a master at the end: {still_apart} | {sent} later writes found there |"
    );
    let master = cluster.master().await.unwrap();
    let (after, missing) = missing(master, &written, switched).await;
    assert!(after > 50, "{after} writes after the switch");
    assert_eq!(missing, 0, "of {after} writes acknowledged after the switch");
}
