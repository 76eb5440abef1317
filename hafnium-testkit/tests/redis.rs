//! The Sentinel trio comes up in time, and every fault on it really happens.
#![cfg(feature = "redis")]

use std::time::{Duration, Instant};

use hafnium_testkit::process::ProcessState;
use hafnium_testkit::redis::{RedisSentinel, RedisServer, Role};
use redis::AsyncCommands;

#[tokio::test]
async fn a_single_server_answers_with_its_password_only() {
    let start = Instant::now();
    let server = RedisServer::start().await.unwrap();
    println!("single server: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));

    let mut connection = server.connect().await.unwrap();
    let _: () = connection.set("a", 1).await.unwrap();
    assert_eq!(connection.get::<_, i32>("a").await.unwrap(), 1);

    let client = redis::Client::open(format!("redis://{}/", server.address())).unwrap();
    let mut anonymous = client.get_multiplexed_async_connection().await.unwrap();
    let refused = anonymous.get::<_, Option<i32>>("a").await.unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_restarted_server_is_another_run_and_empty() {
    let server = RedisServer::start().await.unwrap();
    let _: () = server.connect().await.unwrap().set("a", 1).await.unwrap();
    let killed = server.kill9().await.unwrap();
    let after = server.restart().await.unwrap();
    assert_ne!(killed.before.run_id, after.run_id);
    assert_eq!(killed.before.address, after.address);
    let left: Option<i32> = server.connect().await.unwrap().get("a").await.unwrap();
    assert_eq!(left, None);
}

#[tokio::test]
async fn a_killed_master_is_replaced_by_another_run_that_takes_writes_and_comes_back_as_a_replica() {
    let start = Instant::now();
    let cluster = RedisSentinel::start().await.unwrap();
    println!("sentinel trio: {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "5 s on an idle machine"
    );

    let old = cluster.master().await.unwrap();
    let killed = old.kill9().await.unwrap();
    assert_eq!(killed.before.role, Role::Master);
    assert_eq!(old.state(), ProcessState::Gone);
    let failover = cluster.wait_for_new_master(&killed.before).await.unwrap();
    println!(
        "{killed}\n{failover}\n{}",
        serde_json::to_string(&failover).unwrap()
    );
    assert_ne!(failover.after.run_id, killed.before.run_id);
    assert_ne!(failover.after.address, killed.before.address);
    assert!(failover.epoch > 0);

    let new = cluster.master().await.unwrap();
    let _: () = new.connect().await.unwrap().set("after", "kill").await.unwrap();
    let back = cluster.restart_as_replica(old).await.unwrap();
    assert_eq!(back.role, Role::Replica);
    let replicated: String = old.connect().await.unwrap().get("after").await.unwrap();
    assert_eq!(replicated, "kill");
}

#[tokio::test]
async fn a_frozen_master_accepts_tcp_and_stays_silent_and_believes_to_be_one_after_the_thaw() {
    let cluster = RedisSentinel::start().await.unwrap();
    let old = cluster.master().await.unwrap();
    let frozen = old.freeze().await.unwrap();
    println!("{frozen}");
    assert_eq!(old.state(), ProcessState::Stopped);
    let _accepted = tokio::net::TcpStream::connect(old.address()).await.unwrap();
    assert!(old.identity().await.unwrap_err().to_string().contains("silent"));

    let failover = cluster.wait_for_new_master(&frozen.before).await.unwrap();
    println!("{failover}");
    assert_ne!(failover.after.run_id, frozen.before.run_id);

    let thawed = old.thaw().await.unwrap();
    assert_eq!(thawed.run_id, frozen.before.run_id, "the same process");
    assert_eq!(thawed.role, Role::Master, "nobody told it yet");
    assert_eq!(cluster.await_replica(old).await.unwrap().role, Role::Replica);
}

#[tokio::test]
async fn a_failover_on_request_moves_the_master_and_demotes_the_old_one() {
    let cluster = RedisSentinel::start().await.unwrap();
    let old = cluster.master().await.unwrap();
    let failover = cluster.failover().await.unwrap();
    println!("{failover}");
    assert_ne!(failover.after.address, old.address());
    let demoted = cluster.await_replica(old).await.unwrap();
    assert_eq!(demoted.run_id, failover.before.run_id, "it was not restarted");
}

#[tokio::test]
async fn nothing_survives_a_dropped_cluster() {
    let cluster = RedisSentinel::start().await.unwrap();
    cluster.nodes()[0].freeze().await.unwrap();
    let processes = cluster.processes();
    assert_eq!(processes.len(), 6);
    let address = cluster.nodes()[0].address();
    drop(cluster);
    assert!(processes.iter().all(|p| p.state() == ProcessState::Gone));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
