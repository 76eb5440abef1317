//! What can't be handled is in the dead-letter topic before its offset is passed.

use std::collections::BTreeMap;
use std::time::Duration;

use hafnium_core::health::{Health, Registry};
use hafnium_core::{Component, Context, Deadline, Stopped};
use hafnium_stream::{Failure, Message, MissingTopic, Record};
use hafnium_testkit::kafka::StoredRecord;

use crate::rig::{
    LIMIT, Notes, committed, consume, consume_in, fill, kafka, shared, spec, stored, topic, unique, until,
};

fn headers(record: &StoredRecord) -> BTreeMap<&str, &str> {
    let text = |value: &'_ Option<Vec<u8>>| std::str::from_utf8(value.as_ref().unwrap()).unwrap().to_owned();
    record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), &*text(value).leak()))
        .collect()
}

#[tokio::test]
async fn poison_bytes_go_to_a_topic_made_for_them_with_their_story_and_others_are_handled() {
    let cluster = shared().await;
    let topic = topic(&cluster, "poison", 2).await;
    let group = unique("poison");
    let kafka = kafka(&cluster).await;
    let producer = kafka.producer();
    let poison = Message::to(&topic)
        .key("k0")
        .payload(&b"\xff{"[..])
        .header("tenant", "a");
    let sent = producer.send(poison).await.unwrap();
    fill(&kafka, &topic, 1, 5).await;
    let notes = Notes::default();
    let consumer = consume(&kafka, spec(&topic, &group), notes.after(Duration::ZERO)).await;
    until("the good records", async || notes.len() >= 5).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);

    let letters = stored(&cluster, &format!("{topic}.dlq.{group}")).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload.as_deref(), Some(&b"\xff{"[..]));
    assert_eq!(letters[0].key.as_deref(), Some(&b"k0"[..]));
    let headers = headers(&letters[0]);
    let (partition, offset) = (sent.partition.to_string(), sent.offset.to_string());
    let expected = [
        ("tenant", "a"),
        ("dead-letter-topic", &topic),
        ("dead-letter-partition", &partition),
        ("dead-letter-offset", &offset),
        ("dead-letter-key", "k0"),
        ("dead-letter-group", &group),
        ("dead-letter-attempts", "1"),
        ("dead-letter-error-class", "undecodable"),
    ];
    for (name, value) in expected {
        assert_eq!(headers.get(name), Some(&value), "{name}");
    }
    for name in [
        "dead-letter-timestamp",
        "dead-letter-first-failure",
        "dead-letter-error-message",
    ] {
        assert!(headers.contains_key(name), "{name}");
    }
    assert_eq!(committed(&cluster, &group, &topic, 2).await[&sent.partition], 6);
    assert_eq!(
        cluster
            .partition(&format!("{topic}.dlq.{group}"), 1)
            .await
            .unwrap()
            .replicas
            .len(),
        3
    );
}

#[tokio::test]
async fn a_record_that_keeps_failing_is_dead_lettered_after_its_attempts_and_its_key_goes_on() {
    let cluster = shared().await;
    let topic = topic(&cluster, "exhausted", 1).await;
    let group = unique("exhausted");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 1, 3).await;
    let notes = Notes::default();
    let seen = notes.clone();
    let handler = move |record: Record<usize>| {
        seen.take(&record);
        async move {
            match record.value {
                0 => Err(Failure::retry("never works").with_class("test.never")),
                1 => Err(Failure::skip("not for us")),
                _ => Ok(()),
            }
        }
    };
    let spec = spec(&topic, &group)
        .max_attempts(3)
        .backoff(Duration::from_millis(10), Duration::from_millis(10));
    let consumer = consume(&kafka, spec, handler).await;
    until("all attempts", async || notes.len() >= 5).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let attempts: Vec<_> = notes
        .all()
        .iter()
        .map(|note| (note.value, note.attempt))
        .collect();
    assert_eq!(attempts, [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)]);
    let letters = stored(&cluster, &format!("{topic}.dlq.{group}")).await;
    assert_eq!(letters.len(), 1, "a skipped record is no dead letter");
    let headers = headers(&letters[0]);
    assert_eq!(headers["dead-letter-attempts"], "3");
    assert_eq!(headers["dead-letter-error-class"], "test.never");
    assert_eq!(headers["dead-letter-error-message"], "never works");
    assert_eq!(committed(&cluster, &group, &topic, 1).await[&0], 3);
}

fn health(registry: &Registry, name: &str) -> (Health, String) {
    let report = registry.report();
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    (check.health, check.explanation().to_owned())
}

#[tokio::test]
async fn without_a_dead_letter_topic_the_record_waits_the_offset_stays_and_health_is_degraded() {
    let cluster = shared().await;
    let topic = topic(&cluster, "missing", 1).await;
    let group = unique("missing");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 1, 1).await;
    kafka
        .producer()
        .send(Message::to(&topic).key("poison").payload("{"))
        .await
        .unwrap();
    kafka
        .producer()
        .send(Message::to(&topic).key("other").payload("7"))
        .await
        .unwrap();
    let notes = Notes::default();
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let letters = unique("letters");
    let spec = spec(&topic, &group)
        .dead_letter_topic(&letters)
        .missing_dead_letter_topic(MissingTopic::Wait);
    let consumer = consume_in(&cx, &kafka, spec, notes.after(Duration::ZERO)).await;
    until("the good records", async || notes.values() == [0, 7]).await;
    until("degraded health", async || {
        health(cx.health(), "consumer.numbers").0 == Health::Degraded
    })
    .await;
    let (_, reason) = health(cx.health(), "consumer.numbers");
    assert!(reason.contains(&letters), "{reason}");
    until("the first commit", async || {
        committed(&cluster, &group, &topic, 1).await.get(&0) == Some(&1)
    })
    .await;

    cluster.create_topic(&letters, 1).await.unwrap();
    until("the offset to pass", async || {
        committed(&cluster, &group, &topic, 1).await[&0] == 3
    })
    .await;
    assert_eq!(stored(&cluster, &letters).await.len(), 1);
    until("health to recover", async || {
        health(cx.health(), "consumer.numbers").0 == Health::Up
    })
    .await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    cx.tasks().stop().await;
}
