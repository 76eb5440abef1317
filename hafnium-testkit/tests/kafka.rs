//! Three real brokers come up in time, and every fault on them really happens.
//!
//! The tests share one cluster and take turns, because they break it and mend it again. The one broker that is started
//! besides them is there to be dropped.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use hafnium_testkit::kafka::{Isolation, KafkaCluster, read_topic};
use hafnium_testkit::process::ProcessState;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, FutureProducer, FutureRecord, Producer, ThreadedProducer};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

const LIMIT: Duration = Duration::from_secs(30);

/// Not dropped at the end of the test binary: it then ends with the process, which the process layer's tests prove.
static CLUSTER: OnceCell<Mutex<KafkaCluster>> = OnceCell::const_new();

async fn cluster() -> MutexGuard<'static, KafkaCluster> {
    let shared = CLUSTER.get_or_init(|| async {
        let start = Instant::now();
        let cluster = KafkaCluster::start().await.unwrap();
        println!("kafka trio: {:?}", start.elapsed());
        assert!(
            start.elapsed() < Duration::from_secs(45),
            "20 s on an idle machine"
        );
        Mutex::new(cluster)
    });
    let cluster = shared.await.lock().await;
    // A test that failed halfway must not make the next ones fail.
    for broker in cluster.brokers() {
        match cluster.state(broker).unwrap() {
            ProcessState::Stopped => drop(cluster.thaw(broker).await.unwrap()),
            ProcessState::Gone => drop(cluster.restart(broker).await.unwrap()),
            _ => {}
        }
    }
    cluster
}

fn producer(cluster: &KafkaCluster) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("acks", "all")
        // Idempotence needs a block of ids, which brokers ask of the active controller. That may be the frozen node, and
        // they wait 30 s for its answer: a write to the new leader would then fail for a reason of its own.
        .set("enable.idempotence", "false")
        .set("message.timeout.ms", "30000")
        .set("socket.timeout.ms", "5000")
        .set("api.version.request.timeout.ms", "2000")
        .create()
        .unwrap()
}

async fn send(cluster: &KafkaCluster, producer: &FutureProducer, topic: &str, key: &str) {
    let record = FutureRecord::to(topic).partition(0).key(key).payload("x");
    let sent = producer.send(record, LIMIT).await;
    if let Err((error, _)) = sent {
        let mut seen = format!("{error}\n");
        for broker in cluster.brokers() {
            seen += &format!("-- broker {broker} --\n{}\n", cluster.log_tail(broker).unwrap());
        }
        panic!("{topic}: {:?}\n{seen}", cluster.partition(topic, 0).await);
    }
}

async fn keys(cluster: &KafkaCluster, topic: &str) -> Vec<String> {
    let records = read_topic(&cluster.bootstrap(), topic, Isolation::Uncommitted, LIMIT)
        .await
        .unwrap();
    let key = |key: Option<Vec<u8>>| String::from_utf8(key.unwrap()).unwrap();
    records.into_iter().map(|record| key(record.key)).collect()
}

#[tokio::test]
async fn a_new_topic_is_in_sync_on_three_brokers_and_read_back_with_keys_and_headers() {
    let cluster = cluster().await;
    cluster.create_topic("whole", 3).await.unwrap();
    for partition in 0..3 {
        let state = cluster.partition("whole", partition).await.unwrap();
        assert_eq!(
            (&state.replicas[..], &state.in_sync[..]),
            (&[1, 2, 3][..], &[1, 2, 3][..])
        );
    }
    let producer = producer(&cluster);
    for (partition, key) in [(0, "a"), (0, "b"), (2, "c")] {
        let headers = OwnedHeaders::new().insert(Header {
            key: "h",
            value: Some(key),
        });
        let record = FutureRecord::to("whole")
            .partition(partition)
            .key(key)
            .payload("x")
            .headers(headers);
        producer.send(record, LIMIT).await.unwrap();
    }
    let mut read = read_topic(&cluster.bootstrap(), "whole", Isolation::Uncommitted, LIMIT)
        .await
        .unwrap();
    read.sort_by_key(|record| (record.partition, record.offset));
    let places: Vec<_> = read
        .iter()
        .map(|r| (r.partition, r.offset, r.key.clone().unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            (0, 0, b"a".to_vec()),
            (0, 1, b"b".to_vec()),
            (2, 0, b"c".to_vec())
        ]
    );
    assert_eq!(read[2].headers, [("h".to_owned(), Some(b"c".to_vec()))]);
    assert!(read.iter().all(|record| record.timestamp.is_some()));

    let missing = read_topic(&cluster.bootstrap(), "no-such", Isolation::Uncommitted, LIMIT).await;
    missing.unwrap_err();
}

#[tokio::test]
async fn records_of_an_aborted_transaction_are_stored_but_not_committed() {
    let cluster = cluster().await;
    cluster.create_topic("transactions", 1).await.unwrap();
    let bootstrap = cluster.bootstrap();
    tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", "t")
            .create()
            .unwrap();
        producer.init_transactions(LIMIT).unwrap();
        for (key, commit) in [("kept", true), ("aborted", false)] {
            producer.begin_transaction().unwrap();
            producer
                .send(BaseRecord::to("transactions").key(key).payload("x"))
                .map_err(|(error, _)| error)
                .unwrap();
            // Flushed first: an abort would purge what was not sent yet.
            producer.flush(LIMIT).unwrap();
            match commit {
                true => producer.commit_transaction(LIMIT).unwrap(),
                false => producer.abort_transaction(LIMIT).unwrap(),
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(keys(&cluster, "transactions").await, ["kept", "aborted"]);
    let committed = read_topic(&cluster.bootstrap(), "transactions", Isolation::Committed, LIMIT)
        .await
        .unwrap();
    let committed: Vec<_> = committed.into_iter().map(|record| record.key.unwrap()).collect();
    assert_eq!(committed, [b"kept".to_vec()]);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_in_a_higher_epoch_and_comes_back_in_sync() {
    let cluster = cluster().await;
    cluster.create_topic("killed", 1).await.unwrap();
    let producer = producer(&cluster);
    send(&cluster, &producer, "killed", "before").await;

    let before = cluster.partition("killed", 0).await.unwrap();
    let killed = cluster.kill9(before.leader().unwrap()).await.unwrap();
    assert_eq!(cluster.state(killed.broker).unwrap(), ProcessState::Gone);
    let election = cluster.wait_for_new_leader("killed", 0, &before).await.unwrap();
    println!(
        "{killed}\n{election}\n{}",
        serde_json::to_string(&election).unwrap()
    );
    assert_ne!(election.after.leader, before.leader);
    assert!(election.after.epoch > before.epoch);
    assert!(!election.after.in_sync.contains(&killed.broker));

    send(&cluster, &producer, "killed", "after").await;
    assert_eq!(keys(&cluster, "killed").await, ["before", "after"]);

    let back = cluster.restart(killed.broker).await.unwrap();
    println!("{back}");
    assert_eq!(cluster.partition("killed", 0).await.unwrap().in_sync, [1, 2, 3]);
    cluster.restart(killed.broker).await.unwrap_err();
}

#[tokio::test]
async fn a_frozen_leader_accepts_tcp_and_stays_silent_while_another_one_leads() {
    let cluster = cluster().await;
    cluster.create_topic("frozen", 1).await.unwrap();
    let producer = producer(&cluster);
    send(&cluster, &producer, "frozen", "before").await;

    let before = cluster.partition("frozen", 0).await.unwrap();
    let frozen = cluster.freeze(before.leader().unwrap()).await.unwrap();
    assert_eq!(cluster.state(frozen.broker).unwrap(), ProcessState::Stopped);
    let election = cluster.wait_for_new_leader("frozen", 0, &before).await.unwrap();
    println!("{frozen}\n{election}");
    assert!(election.after.epoch > before.epoch);

    let fresh = self::producer(&cluster);
    send(&cluster, &fresh, "frozen", "after").await;

    let back = cluster.thaw(frozen.broker).await.unwrap();
    println!("{back}");
    assert_eq!(cluster.state(frozen.broker).unwrap(), ProcessState::Alive);
    assert_eq!(cluster.partition("frozen", 0).await.unwrap().in_sync, [1, 2, 3]);
    assert_eq!(keys(&cluster, "frozen").await, ["before", "after"]);
}

#[tokio::test]
async fn an_election_that_did_not_happen_has_no_proof() {
    let cluster = cluster().await;
    cluster.create_topic("quiet", 1).await.unwrap();
    let before = cluster.partition("quiet", 0).await.unwrap();
    let waiting = cluster.wait_for_new_leader("quiet", 0, &before);
    let waited = tokio::time::timeout(Duration::from_secs(1), waiting).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn nothing_survives_a_dropped_cluster() {
    let start = Instant::now();
    let cluster = KafkaCluster::single().await.unwrap();
    println!("single broker: {:?}", start.elapsed());
    let processes = cluster.processes();
    assert_eq!(processes.len(), 1);
    cluster.freeze(1).await.unwrap();
    let address = cluster.address(1).unwrap();
    drop(cluster);
    assert!(
        processes
            .iter()
            .all(|process| process.state() == ProcessState::Gone)
    );
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
