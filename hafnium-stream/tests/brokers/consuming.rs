//! What is committed was handled, and what was not comes again.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::{Propagation, Propagator};
use hafnium_core::tasks::Tasks;
use hafnium_core::{Component, Context, Deadline, ServiceInfo, Stopped};
use hafnium_stream::{Consumer, Failure, Handler, Kafka, KafkaSettings, Message, Record};
use tracing::Span;

use crate::rig::{
    LIMIT, Notes, committed, consume, consume_in, fill, kafka, settings, shared, spec, stored, topic, unique,
    until,
};

#[tokio::test]
async fn every_record_is_handled_once_in_the_order_of_its_key_and_then_committed() {
    let cluster = shared().await;
    let topic = topic(&cluster, "ordered", 3).await;
    let group = unique("ordered");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 20, 600).await;
    let notes = Notes::default();
    let consumer = consume(
        &kafka,
        spec(&topic, &group),
        notes.after(Duration::from_millis(1)),
    )
    .await;
    until("600 records", async || notes.len() >= 600).await;
    // Without a stop: the commits of a running consumer.
    until("all commits", async || {
        committed(&cluster, &group, &topic, 3).await.values().sum::<i64>() == 600
    })
    .await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert_eq!(notes.values(), (0..600).collect::<Vec<_>>());
    for key in 0..20 {
        let key = format!("k{key}");
        let of_key = notes.all().into_iter().filter(|note| note.key == key);
        let offsets: Vec<_> = of_key.map(|note| note.offset).collect();
        assert!(offsets.len() == 30 && offsets.is_sorted(), "{key}: {offsets:?}");
    }
}

#[tokio::test]
async fn a_failing_record_is_retried_in_place_and_delays_no_other_key() {
    let cluster = shared().await;
    let topic = topic(&cluster, "failing", 1).await;
    let kafka = kafka(&cluster).await;
    // Values 0 and 2 are of key k0, value 1 is of key k1.
    fill(&kafka, &topic, 2, 3).await;
    let notes = Notes::default();
    let seen = notes.clone();
    let handler = move |record: Record<usize>| {
        seen.take(&record);
        async move {
            match (record.value, record.attempt) {
                (0, 1 | 2) => Err(Failure::retry("not yet")),
                (0, 3) => panic!("as the test asks"),
                _ => Ok(()),
            }
        }
    };
    let spec =
        spec(&topic, &unique("failing")).backoff(Duration::from_millis(300), Duration::from_millis(300));
    let consumer = consume(&kafka, spec, handler).await;
    until("all attempts", async || notes.len() >= 6).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    let all = notes.all();
    let slow: Vec<_> = all
        .iter()
        .filter(|note| note.key == "k0")
        .map(|note| (note.value, note.attempt))
        .collect();
    assert_eq!(slow, [(0, 1), (0, 2), (0, 3), (0, 4), (2, 1)]);
    let first = all.iter().find(|note| note.value == 0).unwrap().at;
    let other = all.iter().find(|note| note.value == 1).unwrap().at;
    assert!(
        other.saturating_duration_since(first) < Duration::from_millis(100),
        "it waited for another key"
    );
}

/// Writes one header, and keeps what it is given to read.
#[derive(Clone, Default)]
struct Passed(Arc<Mutex<Vec<Option<String>>>>);

impl Propagator for Passed {
    fn inject(&self, _: &Span, set: &mut dyn FnMut(&str, String)) {
        set("traceparent", "00-from-the-sender".into());
    }
    fn extract(&self, _: &Span, get: &dyn Fn(&str) -> Option<String>) {
        self.0.lock().unwrap().push(get("traceparent"));
    }
}

#[tokio::test]
async fn trace_context_travels_in_the_headers_from_send_to_process() {
    let cluster = shared().await;
    let topic = topic(&cluster, "traced", 1).await;
    let passed = Passed::default();
    let cx = Context::new(
        ServiceInfo::new("test", "0"),
        Registry::new(),
        Metrics::noop(),
        Propagation::new(passed.clone()),
        Tasks::new(),
        Watch::fixed(State::Ready),
    );
    let kafka = Kafka::connect(settings(&cluster), &cx).await.unwrap();
    // A context that came from elsewhere is replaced, not doubled.
    let message = Message::to(&topic)
        .header("traceparent", "00-stale")
        .json(&1)
        .unwrap();
    kafka.producer().send(message).await.unwrap();
    let notes = Notes::default();
    let consumer = consume_in(
        &cx,
        &kafka,
        spec(&topic, &unique("traced")),
        notes.after(Duration::ZERO),
    )
    .await;
    until("the record", async || notes.len() == 1).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert_eq!(*passed.0.lock().unwrap(), [Some("00-from-the-sender".to_owned())]);
    let headers = &stored(&cluster, &topic).await[0].headers;
    assert_eq!(
        headers.iter().filter(|(name, _)| name == "traceparent").count(),
        1
    );
}

/// Where the process of the kill test finds its work.
const CHILD: &str = "HAFNIUM_STREAM_TEST_CHILD";

/// Handles the first ten records and stays in the eleventh.
struct StuckAtTen;

impl Handler<usize> for StuckAtTen {
    async fn handle(&self, record: Record<usize>) -> Result<(), Failure> {
        if record.value == 10 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test]
#[ignore = "run as a process of its own by the kill test"]
async fn child() {
    let work = std::env::var(CHILD).unwrap();
    let [bootstrap, topic, group] = work.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{work}")
    };
    let mut settings = KafkaSettings::new(bootstrap);
    settings.session_timeout = hafnium_core::config::Duration::from_secs(6);
    let cx = Context::standalone();
    let kafka = Kafka::connect(settings, &cx).await.unwrap();
    let consumer = Consumer::new("numbers", spec(topic, group), &kafka, StuckAtTen, &cx).unwrap();
    consumer.start(&cx).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn after_a_kill_what_was_not_done_comes_again_and_what_was_committed_does_not() {
    let cluster = shared().await;
    let topic = topic(&cluster, "crash", 1).await;
    let group = unique("crash");
    let kafka = kafka(&cluster).await;
    fill(&kafka, &topic, 1, 20).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "consuming::child", "--ignored"])
        .env(CHILD, format!("{} {topic} {group}", cluster.bootstrap()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("ten commits", async || {
        committed(&cluster, &group, &topic, 1).await.get(&0) == Some(&10)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    let notes = Notes::default();
    let consumer = consume(&kafka, spec(&topic, &group), notes.after(Duration::ZERO)).await;
    until("the rest", async || notes.len() >= 10).await;
    assert_eq!(consumer.stop(Deadline::after(LIMIT)).await, Stopped::Clean);
    assert_eq!(notes.values(), (10..20).collect::<Vec<_>>());
    assert_eq!(committed(&cluster, &group, &topic, 1).await[&0], 20);
}
