//! A stop finishes what began, hands back the rest, and never takes longer than it may.

use std::time::Duration;

use hafnium_core::lifecycle::{Lifecycle, State};
use hafnium_core::{Component, Deadline, Stopped};
use hafnium_stream::Record;
use tokio::time::Instant;

use crate::rig::{
    LIMIT, Notes, alone, committed, consume, consume_in, context, fill, kafka, shared, spec, topic, unique,
    until,
};

#[tokio::test]
async fn a_stop_finishes_what_began_and_the_next_consumer_sees_no_duplicate() {
    let cluster = shared().await;
    let topic = topic(&cluster, "stop", 3).await;
    let group = unique("stop");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 50, 400).await;
    let first = Notes::default();
    let consumer = consume(
        &kafka,
        spec(&topic, &group),
        first.after(Duration::from_millis(30)),
    )
    .await;
    until("some records", async || first.len() >= 60).await;
    let begun = Instant::now();
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    println!(
        "stopped after {:?} with {} of 400 done",
        begun.elapsed(),
        first.len()
    );
    let done = first.len();
    assert!(done < 400, "it finished instead of stopping");

    let second = Notes::default();
    let consumer = consume(&kafka, spec(&topic, &group), second.after(Duration::ZERO)).await;
    until("the rest", async || second.len() >= 400 - done).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let mut all = [first.values(), second.values()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_handler_that_hangs_is_named_at_the_deadline_and_its_record_comes_again() {
    let cluster = shared().await;
    let topic = topic(&cluster, "hang", 1).await;
    let group = unique("hang");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 3, 3).await;
    let notes = Notes::default();
    let seen = notes.clone();
    let handler = move |record: Record<usize>| {
        let seen = seen.clone();
        async move {
            if record.value == 1 {
                std::future::pending::<()>().await;
            }
            seen.take(&record);
            Ok(())
        }
    };
    let consumer = consume(&kafka, spec(&topic, &group), handler).await;
    until("the others", async || notes.len() == 2).await;
    assert_eq!(
        consumer.under_way(),
        [format!("consumer.numbers: {topic}[0]: 1 keys")]
    );
    let begun = Instant::now();
    let stopped = consumer.stop(Deadline::after(Duration::from_secs(2))).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(2050), "{took:?}");
    assert_eq!(
        stopped.stragglers(),
        [format!("consumer.numbers: {topic}[0]: 1 records of 1 keys")]
    );
    assert_eq!(committed(&cluster, &group, &topic, 1).await[&0], 1);

    let again = Notes::default();
    let consumer = consume(&kafka, spec(&topic, &group), again.after(Duration::ZERO)).await;
    until("the record again", async || again.len() >= 2).await;
    assert_eq!(again.values(), [1, 2]);
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
}

#[tokio::test]
async fn when_the_service_drains_nothing_new_is_taken_and_the_group_is_left_before_the_stop() {
    let cluster = shared().await;
    let topic = topic(&cluster, "drain", 1).await;
    let group = unique("drain");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 10, 10).await;
    let lifecycle = Lifecycle::new();
    lifecycle.advance(State::Ready);
    let cx = context(lifecycle.watch());
    let notes = Notes::default();
    let consumer = consume_in(&cx, &kafka, spec(&topic, &group), notes.after(Duration::ZERO)).await;
    until("the first records", async || notes.len() == 10).await;
    lifecycle.advance(State::Draining);
    until("the last commit", async || {
        committed(&cluster, &group, &topic, 1).await.get(&0) == Some(&10)
    })
    .await;
    fill(&kafka, &topic, 10, 10).await;
    // Another member gets the partition at once, so the first has left and not merely paused.
    let others = Notes::default();
    let other = consume(&kafka, spec(&topic, &group), others.after(Duration::ZERO)).await;
    until("the other member", async || others.len() == 10).await;
    assert_eq!(notes.len(), 10);
    let begun = Instant::now();
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(other.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
}

#[test]
fn dropping_a_consumer_never_blocks_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = shared().await;
        let topic = topic(&cluster, "drop", 1).await;
        let kafka = kafka(&cluster).await;
        fill(&kafka, &topic, 1, 1).await;
        let notes = Notes::default();
        let consumer = consume(&kafka, spec(&topic, &unique("drop")), notes.after(Duration::ZERO)).await;
        until("the record", async || notes.len() == 1).await;
        let begun = Instant::now();
        drop(consumer);
        drop(kafka);
        assert!(
            begun.elapsed() < Duration::from_millis(20),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[tokio::test]
async fn a_stop_while_every_broker_is_frozen_ends_in_time_and_says_what_it_waited_for() {
    let cluster = alone().await;
    let topic = topic(&cluster, "frozen", 1).await;
    let group = unique("frozen");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 5, 5).await;
    let notes = Notes::default();
    let consumer = consume(&kafka, spec(&topic, &group), notes.after(Duration::ZERO)).await;
    until("the records", async || notes.len() == 5).await;
    for broker in cluster.brokers() {
        cluster.freeze(broker).await.unwrap();
    }
    let begun = Instant::now();
    let stopped = consumer.stop(Deadline::after(Duration::from_secs(2))).await;
    let took = begun.elapsed();
    for broker in cluster.brokers() {
        cluster.thaw(broker).await.unwrap();
    }
    assert!(took < Duration::from_millis(2050), "{took:?}");
    assert_eq!(stopped.stragglers(), ["consumer.numbers: leaving the group"]);
    cluster.await_in_sync(&topic, 1).await.unwrap();
}
