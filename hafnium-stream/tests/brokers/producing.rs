//! What is acknowledged is there, once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::{Classify, Component, Deadline, Fault, Outcome, Stopped};
use hafnium_stream::Message;
use tokio::time::Instant;

use crate::rig::{LIMIT, alone, kafka, shared, stored, topic, until};

#[tokio::test]
async fn an_acknowledged_record_is_where_its_delivery_says_with_key_value_and_headers() {
    let cluster = shared().await;
    let topic = topic(&cluster, "acknowledged", 3).await;
    let kafka = kafka(&cluster).await;
    let message = Message::to(&topic)
        .key("k")
        .json(&[1, 2])
        .unwrap()
        .header("tenant", "a")
        .header("tenant", "b");
    let sent = kafka.producer().send(message).await.unwrap();
    let gone = kafka.producer().send(Message::to(&topic).key("k")).await.unwrap();
    assert_eq!(
        (gone.partition, gone.offset),
        (sent.partition, sent.offset + 1),
        "one key, one partition, in order"
    );

    let read = stored(&cluster, &topic).await;
    assert_eq!((read[0].partition, read[0].offset), (sent.partition, sent.offset));
    assert_eq!(read[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(read[0].payload.as_deref(), Some(&b"[1,2]"[..]));
    let tenants: Vec<_> = read[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "tenant")
        .collect();
    assert_eq!(tenants.len(), 2);
    assert_eq!(read[1].payload, None, "a tombstone");
    assert_eq!(kafka.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let error = kafka.producer().send(Message::to(&topic)).await.unwrap_err();
    assert_eq!(
        (error.outcome(), error.code()),
        (Outcome::NotRun, "kafka.not_running")
    );
}

#[tokio::test]
async fn an_oversized_record_is_refused_at_once_and_is_the_callers_fault() {
    let cluster = shared().await;
    let topic = topic(&cluster, "oversized", 1).await;
    let kafka = kafka(&cluster).await;
    let begun = Instant::now();
    let error = kafka
        .producer()
        .send(Message::to(&topic).payload(vec![0; 5 << 20]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.outcome(), error.fault()),
        (Outcome::NotRun, Fault::Caller),
        "{error}"
    );
    assert!(!error.retryable() && begun.elapsed() < Duration::from_secs(1));
    kafka
        .producer()
        .send(Message::to(&topic).payload("small"))
        .await
        .unwrap();
    assert_eq!(stored(&cluster, &topic).await.len(), 1);
}

#[tokio::test]
async fn a_nearer_deadline_of_the_caller_ends_the_wait_and_says_that_the_outcome_is_unknown() {
    let cluster = alone().await;
    let topic = topic(&cluster, "deadline", 1).await;
    let kafka = kafka(&cluster).await;
    kafka
        .producer()
        .send(Message::to(&topic).payload("first"))
        .await
        .unwrap();
    let leader = cluster.partition(&topic, 0).await.unwrap().leader().unwrap();
    let frozen = cluster.freeze(leader).await.unwrap();
    println!("{frozen}");
    let begun = Instant::now();
    let limit = Deadline::after(Duration::from_millis(300));
    let error = limit
        .scope(kafka.producer().send(Message::to(&topic).payload("late")))
        .await
        .unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_millis(400),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (error.outcome(), error.code()),
        (Outcome::Unknown, "kafka.no_acknowledgement")
    );
    cluster.thaw(leader).await.unwrap();
    cluster.await_in_sync(&topic, 1).await.unwrap();
    // The wait was given up, the delivery was not.
    assert_eq!(kafka.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert_eq!(stored(&cluster, &topic).await.len(), 2);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_leader_is_killed_under_load() {
    let cluster = alone().await;
    let topic = topic(&cluster, "killed", 1).await;
    let kafka = kafka(&cluster).await;
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let acknowledged: Arc<Mutex<Vec<(usize, Instant)>>> = Arc::default();
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (producer, topic, stop, next) = (kafka.producer(), topic.clone(), stop.clone(), next.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let message = Message::to(&topic).key(id.to_string()).payload("x");
                    producer.send(message).await.unwrap();
                    acknowledged.lock().unwrap().push((id, Instant::now()));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let count = || acknowledged.lock().unwrap().len();
    until("load", async || count() >= 200).await;
    let before = cluster.partition(&topic, 0).await.unwrap();
    let killed = cluster.kill9(before.leader().unwrap()).await.unwrap();
    let election = cluster.wait_for_new_leader(&topic, 0, &before).await.unwrap();
    let elected = count();
    until("load on the new leader", async || count() >= elected + 200).await;
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    cluster.restart(killed.broker).await.unwrap();
    cluster.await_in_sync(&topic, 1).await.unwrap();

    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for record in stored(&cluster, &topic).await {
        let id = String::from_utf8(record.key.unwrap()).unwrap().parse().unwrap();
        *times.entry(id).or_default() += 1;
    }
    let acknowledged = acknowledged.lock().unwrap();
    let lost = acknowledged
        .iter()
        .filter(|(id, _)| !times.contains_key(id))
        .count();
    let doubled = times.values().filter(|count| **count > 1).count();
    let gap = acknowledged.windows(2).map(|pair| pair[1].1 - pair[0].1).max();
    println!(
        "{killed}\n{election}\nacknowledged {}, lost {lost}, doubled {doubled}, gap {gap:?}",
        acknowledged.len()
    );
    assert_eq!((lost, doubled), (0, 0));
}
