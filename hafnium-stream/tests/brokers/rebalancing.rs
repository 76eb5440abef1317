//! A partition changes hands without a record done twice.

use std::time::Duration;

use hafnium_core::{Component, Deadline, Stopped};
use hafnium_stream::Record;

use crate::rig::{LIMIT, Notes, alone, committed, consume, fill, kafka, shared, spec, topic, unique, until};

#[tokio::test]
async fn a_member_that_joins_and_one_that_leaves_under_load_cause_neither_loss_nor_duplicate() {
    let cluster = shared().await;
    let topic = topic(&cluster, "rebalance", 4).await;
    let group = unique("rebalance");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 100, 2000).await;
    let (first, second) = (Notes::default(), Notes::default());
    let work = Duration::from_millis(20);
    let one = consume(&kafka, spec(&topic, &group).concurrency(8), first.after(work)).await;
    until("the first member", async || first.len() >= 100).await;
    let two = consume(&kafka, spec(&topic, &group).concurrency(8), second.after(work)).await;
    until("the second member", async || second.len() >= 200).await;
    assert_eq!(one.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    until("all records", async || first.len() + second.len() >= 2000).await;
    assert_eq!(two.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let mut all = [first.values(), second.values()].concat();
    all.sort_unstable();
    println!("first member {}, second member {}", first.len(), second.len());
    assert_eq!(all, (0..2000).collect::<Vec<_>>());
}

/// The partition of `__consumer_offsets` whose leader coordinates the group: Java's hash of its name.
fn coordinated_by(group: &str, partitions: i32) -> i32 {
    let hash = group.bytes().fold(0i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    });
    (hash & 0x7fff_ffff) % partitions
}

#[tokio::test]
async fn when_the_coordinator_is_killed_nothing_is_lost_and_commits_go_on() {
    let cluster = alone().await;
    let topic = topic(&cluster, "coordinator", 3).await;
    let group = unique("coordinator");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 50, 300).await;
    let notes = Notes::default();
    let spec = spec(&topic, &group).concurrency(4);
    let consumer = consume(&kafka, spec, notes.after(Duration::from_millis(5))).await;
    until("a commit", async || {
        committed(&cluster, &group, &topic, 3).await.values().sum::<i64>() > 50
    })
    .await;
    // The rig gives that topic three partitions.
    let partition = coordinated_by(&group, 3);
    let before = cluster.partition("__consumer_offsets", partition).await.unwrap();
    let killed = cluster.kill9(before.leader().unwrap()).await.unwrap();
    // 300 more, numbered alike, while the broker is gone.
    fill(&kafka, &topic, 50, 300).await;
    until("all records", async || notes.len() >= 600).await;
    until("all commits", async || {
        committed(&cluster, &group, &topic, 3).await.values().sum::<i64>() == 600
    })
    .await;
    let election = cluster
        .wait_for_new_leader("__consumer_offsets", partition, &before)
        .await
        .unwrap();
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    println!("{killed}\n{election}\n{} done twice", notes.len() - 600);
    // By place: a value that came twice may be one record done twice, with its twin of the other fill lost.
    assert_eq!(notes.places().len(), 600, "records were lost");
    cluster.restart(killed.broker).await.unwrap();
    cluster.await_in_sync(&topic, 3).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_was_paused_when_it_left_is_read_again_when_it_comes_back() {
    let cluster = shared().await;
    let topic = topic(&cluster, "paused", 4).await;
    let group = unique("paused");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 100, 200).await;
    let (first, second) = (Notes::default(), Notes::default());
    let (gate, opened) = tokio::sync::watch::channel(false);
    let taken = first.clone();
    let gated = move |record: Record<usize>| {
        let (mut opened, taken) = (opened.clone(), taken.clone());
        async move {
            let _ = opened.wait_for(|opened| *opened).await;
            taken.take(&record);
            Ok(())
        }
    };
    let small = spec(&topic, &group)
        .concurrency(4)
        .max_in_flight(10)
        .drain_timeout(Duration::from_millis(500));
    let one = consume(&kafka, small, gated).await;
    until("records in hand", async || !one.under_way().is_empty()).await;
    // Without room for longer than the patience of its thread: everything is paused.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let two = consume(&kafka, spec(&topic, &group), second.after(Duration::ZERO)).await;
    until("the second member", async || second.len() > 10).await;
    assert_eq!(two.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    fill(&kafka, &topic, 100, 200).await;
    gate.send_replace(true);
    until("all commits", async || {
        committed(&cluster, &group, &topic, 4).await.values().sum::<i64>() == 400
    })
    .await;
    assert_eq!(one.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    // Commits alone may pass what nobody handled. The second fill is the first member's, as the other one had left.
    let (by_first, by_second) = (first.places(), second.places());
    assert_eq!(by_first.union(&by_second).count(), 400, "records were lost");
}
