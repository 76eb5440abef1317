//! The deadline of the one who waits, through the brokers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::{Component, Deadline, Stopped};
use hafnium_stream::{Message, PastDeadline, Record};

use crate::rig::{LIMIT, Notes, consume, kafka, shared, spec, stored, topic, unique, until};

#[tokio::test]
async fn a_handler_runs_under_the_deadline_of_the_one_who_sent_its_record() {
    let cluster = shared().await;
    let topic = topic(&cluster, "deadline", 1).await;
    let kafka = kafka(&cluster).await;
    let message = |value: usize| Message::to(&topic).key("k").json(&value).unwrap();
    let sends = async {
        for message in [message(1).deadline(), message(2)] {
            kafka.producer().send(message).await.unwrap();
        }
    };
    // Below the handler's own 120 s by more than this test may take.
    Deadline::after(Duration::from_secs(60)).scope(sends).await;
    let seen: Arc<Mutex<Vec<(usize, Duration)>>> = Arc::default();
    let notes = seen.clone();
    let handler = move |record: Record<usize>| {
        let left = Deadline::current().unwrap().remaining();
        notes.lock().unwrap().push((record.value, left));
        async { Ok(()) }
    };
    let spec = spec(&topic, &unique("deadline")).handler_timeout(Duration::from_secs(120));
    let consumer = consume(&kafka, spec, handler).await;
    until("two records", async || seen.lock().unwrap().len() >= 2).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let seen = seen.lock().unwrap();
    let minute = Duration::from_secs(60);
    assert!(seen[0].0 == 1 && seen[0].1 < minute, "{seen:?}");
    assert!(seen[1].0 == 2 && seen[1].1 > minute, "{seen:?}");
}

#[tokio::test]
async fn a_late_record_goes_to_the_dead_letters_where_the_consumer_says_so() {
    let cluster = shared().await;
    let topic = topic(&cluster, "late", 1).await;
    let group = unique("late");
    let kafka = kafka(&cluster).await;
    let late = Message::to(&topic).key("k").json(&1).unwrap();
    let late = late.header("deadline-unix-ms", "1000");
    kafka.producer().send(late).await.unwrap();
    kafka
        .producer()
        .send(Message::to(&topic).key("k").json(&2).unwrap())
        .await
        .unwrap();
    let notes = Notes::default();
    let spec = spec(&topic, &group).past_deadline(PastDeadline::DeadLetter);
    let consumer = consume(&kafka, spec, notes.after(Duration::ZERO)).await;
    until("the record in time", async || notes.len() >= 1).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert_eq!(notes.values(), [2]);
    let letters = stored(&cluster, &format!("{topic}.dlq.{group}")).await;
    assert_eq!(letters.len(), 1);
    let class = letters[0]
        .headers
        .iter()
        .find(|(name, _)| name == "dead-letter-error-class");
    assert_eq!(
        class.and_then(|(_, value)| value.as_deref()),
        Some(&b"past_deadline"[..])
    );
}
