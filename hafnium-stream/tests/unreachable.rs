//! Without brokers: a start that can be tried again, and a stop that names what it could not deliver.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use hafnium_core::{Classify, Component, Context, Deadline, Outcome};
use hafnium_stream::{Kafka, KafkaSettings, Message};
use tokio::time::Instant;

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_start_without_brokers_says_so_and_can_be_tried_again() {
    let cx = Context::standalone();
    let kafka = Kafka::new("events", KafkaSettings::new(nowhere()), &cx).unwrap();
    let early = kafka.producer().send(Message::to("t")).await.unwrap_err();
    assert_eq!(
        (early.outcome(), early.code()),
        (Outcome::NotRun, "kafka.not_running")
    );
    let begun = Instant::now();
    let error = kafka.start(&cx).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(
        error.to_string().starts_with("kafka.events") && error.to_string().contains("refused"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(6));

    let producer = kafka.producer();
    let waiting = tokio::spawn(async move { producer.send(Message::to("scores").payload("x")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    let stopped = kafka.stop(Deadline::after(Duration::from_millis(200))).await;
    assert!(
        begun.elapsed() < Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        stopped.stragglers(),
        ["kafka.events: 1 records to scores unacknowledged"]
    );
    // The one that waits is told as well, and does not wait out its half minute.
    let told = tokio::time::timeout(Duration::from_secs(2), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!((told.outcome(), told.code()), (Outcome::Unknown, "kafka.stopped"));
}
