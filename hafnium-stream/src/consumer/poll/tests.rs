//! The thread without brokers.

use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::health::Status;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::super::process::tests::{raw as record, workshop};
use super::super::spec::ConsumerSpec;
use super::super::state::Ending;
use super::*;
use crate::failure::Failure;
use crate::handler::Handler;
use crate::native;
use crate::record::Record;
use crate::settings::KafkaSettings;
use crate::trouble::Trouble;

const DRAIN: Duration = Duration::from_millis(300);

/// A thread that holds partition 0 of `t`.
fn poller(handler: impl Handler<u32>) -> Poller {
    let cx = Context::standalone();
    let state = Arc::new(State::new());
    state.start();
    let (shop, inbox) = workshop(ConsumerSpec::new(), handler, state.clone());
    let config = native::consumer(&KafkaSettings::new("localhost:1"), "test", "g", "earliest");
    let callbacks = Callbacks::new(Arc::new(Trouble::new("consumer.test".into())));
    let native = config.create_with_context(callbacks).unwrap();
    let pulse = cx.health().heartbeat("test", Duration::from_secs(60));
    let mut poller = Poller::new(native, inbox, shop, state, pulse, DRAIN);
    poller.partitions.insert("t", 0, 1);
    poller
}

/// Takes a record as if it had been read.
fn take(poller: &mut Poller, key: &'static str, value: u32, offset: i64) {
    let partition = poller.partitions.get_mut("t", 0).unwrap();
    assert!(partition.tracker.take(offset));
    let lease = partition.lease.clone();
    poller.pressure.take(1);
    let work = Work::new(record(key, value, offset), lease, 1, poller.events.clone());
    poller.shop.accept(work);
}

fn idle(_: Record<u32>) -> std::future::Ready<Result<(), Failure>> {
    std::future::ready(Ok(()))
}

#[tokio::test(start_paused = true)]
async fn a_halt_is_seen_at_once_and_bounds_what_is_finished() {
    let mut poller = poller(idle);
    let now = Instant::now();
    assert_eq!(poller.state.health(now), Status::Up);
    poller.take(Event::Drain, now);
    assert_eq!(poller.phase, Phase::Draining(None), "the stop is to bound it");
    poller.take(Event::Halt("the ledger is gone".into()), now);
    assert_eq!(poller.phase, Phase::Draining(Some(now + DRAIN)));
    assert_eq!(
        poller.state.health(now),
        Status::Down("the ledger is gone".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_is_seen_at_once_and_bounds_what_is_finished() {
    let mut poller = poller(idle);
    poller.complain(&KafkaError::MessageConsumptionFatal(Code::Fatal));
    let now = Instant::now();
    assert_eq!(poller.phase, Phase::Draining(Some(now + DRAIN)));
    assert!(matches!(poller.state.health(now), Status::Down(reason) if reason.contains("gave up")));
}

#[tokio::test]
async fn a_record_that_never_ends_does_not_keep_a_halted_consumer() {
    let mut poller = poller(|record: Record<u32>| async move {
        if record.value == 1 {
            // Time for the other one to begin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Err(Failure::stop("the ledger is gone"));
        }
        std::future::pending().await
    });
    take(&mut poller, "a", 1, 0);
    take(&mut poller, "b", 2, 1);
    let state = poller.state.clone();
    let begun = Instant::now();
    let thread = std::thread::spawn(move || poller.run());
    tokio::time::timeout(Duration::from_secs(10), state.wait_ended())
        .await
        .unwrap();
    assert!(
        begun.elapsed() >= DRAIN,
        "what began was given no time to be finished"
    );
    assert_eq!(state.stragglers(), ["t[0]: 1 records of 1 keys"]);
    assert_eq!(
        state.ended(),
        Some(Ending::Failed(
            "stopped by the handler: the ledger is gone".into()
        ))
    );
    thread.join().unwrap();
}
