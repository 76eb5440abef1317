//! Attempts without brokers, on a paused clock.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use hafnium_core::Context;

use super::super::state::State;
use super::*;
use crate::handler::Json;
use crate::kafka::Kafka;
use crate::record::Headers;
use crate::settings::KafkaSettings;

/// (key, value, attempt, milliseconds since the start) of every attempt, in the order they began.
type Log = Arc<Mutex<Vec<(String, u32, u32, u128)>>>;

/// A workshop without brokers, and what it tells the thread.
pub(in crate::consumer) fn workshop(
    spec: ConsumerSpec,
    handler: impl Handler<u32>,
    state: Arc<State>,
) -> (Arc<Workshop>, Receiver<Event>) {
    let cx = Context::standalone();
    let kafka = Kafka::new("unused", KafkaSettings::new("localhost:1"), &cx).unwrap();
    let (events, inbox) = channel();
    let spec = spec.topic("t").group("g");
    let shop = Workshop {
        process: Arc::new(Handling {
            decoder: Json,
            handler,
            value: PhantomData,
        }),
        places: Semaphore::new(spec.concurrency),
        lanes: Mutex::new(Lanes::new()),
        dead_letters: DeadLetters::new(kafka.producer(), spec.clone(), "g".into(), state),
        figures: Figures::new(cx.metrics(), "g", spec.topics()),
        propagation: Propagation::none(),
        events,
        spec,
        group: "g".into(),
        runtime: Handle::current(),
    };
    (Arc::new(shop), inbox)
}

/// A record of the topic `t`, partition 0.
pub(in crate::consumer) fn raw(key: &'static str, value: u32, offset: i64) -> RawRecord {
    RawRecord {
        topic: "t".into(),
        partition: 0,
        offset,
        key: Some(Bytes::from_static(key.as_bytes())),
        payload: Some(value.to_string().into()),
        timestamp: None,
        headers: Default::default(),
    }
}

struct Bench {
    shop: Arc<Workshop>,
    inbox: Receiver<Event>,
    lease: Arc<Lease>,
    next: i64,
}

impl Bench {
    fn new(spec: ConsumerSpec, handler: impl Handler<u32>) -> Self {
        let (shop, inbox) = workshop(spec, handler, Arc::new(State::new()));
        let lease = Arc::new(Lease::new("t".into(), 0, 1));
        Self {
            shop,
            inbox,
            lease,
            next: 0,
        }
    }

    fn put(&mut self, key: &'static str, value: u32) {
        self.put_with(key, value, Default::default());
    }

    fn put_with(&mut self, key: &'static str, value: u32, headers: Headers) {
        let mut raw = raw(key, value, self.next);
        raw.headers = headers;
        self.next += 1;
        self.shop
            .accept(Work::new(raw, self.lease.clone(), 1, self.shop.events.clone()));
    }

    /// The partition is lost and comes back.
    fn reassign(&mut self) {
        let lost = std::mem::replace(&mut self.lease, Arc::new(Lease::new("t".into(), 0, 2)));
        lost.surrender();
        lost.cut.cancel();
    }

    /// What the thread is told within ten (paused) seconds: why to halt, and which records ended how.
    async fn told(&self) -> (Vec<String>, Vec<(i64, End)>) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (mut halts, mut ends) = (Vec::new(), Vec::new());
        for event in self.inbox.try_iter() {
            match event {
                Event::Halt(reason) => halts.push(reason),
                Event::Ended { offset, end, .. } => ends.push((offset, end)),
                _ => panic!("another event"),
            }
        }
        ends.sort_unstable_by_key(|(offset, _)| *offset);
        (halts, ends)
    }

    /// The next end, which must come within a (paused) minute.
    async fn ended(&self) -> (i64, End) {
        for _ in 0..60_000 {
            match self.inbox.try_recv() {
                Ok(Event::Ended { offset, end, .. }) => return (offset, end),
                Ok(_) => panic!("another event"),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        panic!("no record ended within a minute");
    }
}

/// Notes every attempt, then does what `then` says.
fn noting<F, Fut>(log: &Log, then: F) -> impl Handler<u32>
where
    F: Fn(u32, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (log, begun) = (log.clone(), Instant::now());
    move |record: Record<u32>| {
        let key = record.key_str().unwrap_or_default().to_owned();
        let noted = (key, record.value, record.attempt, begun.elapsed().as_millis());
        log.lock().unwrap().push(noted);
        then(record.value, record.attempt)
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_keeps_its_order_and_delays_no_other_key() {
    let log = Log::default();
    let handler = noting(&log, |value, attempt| async move {
        if value == 1 && attempt < 4 {
            Err(Failure::retry("not yet"))
        } else {
            Ok(())
        }
    });
    // One place: a record that waits for its next attempt must not take it.
    let mut bench = Bench::new(ConsumerSpec::new().concurrency(1), handler);
    bench.put("slow", 1);
    bench.put("slow", 2);
    bench.put("quick", 3);
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(bench.ended().await);
    }
    assert_eq!(ends, [(2, End::Done), (0, End::Done), (1, End::Done)]);
    let log = log.lock().unwrap();
    let slow: Vec<_> = log
        .iter()
        .filter(|(key, ..)| key == "slow")
        .map(|(_, v, a, _)| (*v, *a))
        .collect();
    assert_eq!(slow, [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]);
    let quick = log.iter().find(|(key, ..)| key == "quick").unwrap();
    assert_eq!(quick.3, 0, "it waited for another key");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_handler_that_takes_too_long_are_failures_that_are_retried() {
    let log = Log::default();
    let handler = noting(&log, |_, attempt| async move {
        match attempt {
            1 => panic!("as the test asks"),
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    });
    let spec = ConsumerSpec::new().handler_timeout(Duration::from_secs(5));
    let mut bench = Bench::new(spec, handler);
    bench.put("a", 1);
    assert_eq!(bench.ended().await, (0, End::Done));
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 3);
    assert!(
        log[2].3 >= 5000,
        "the third attempt began before the second one was over"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_is_handed_back_whether_it_waits_or_is_being_handled() {
    let log = Log::default();
    let handler = noting(&log, |value, _| async move {
        if value == 1 {
            std::future::pending().await
        } else {
            Ok(())
        }
    });
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put("a", 1);
    bench.put("a", 2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.lease.surrender();
    bench.lease.cut.cancel();
    assert_eq!(bench.ended().await, (0, End::HandedBack));
    assert_eq!(bench.ended().await, (1, End::HandedBack));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_can_not_be_dead_lettered_is_neither_done_nor_handed_back() {
    let handler = |_: Record<u32>| async { Err(Failure::dead_letter("never")) };
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put("a", 1);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(bench.inbox.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn stop_is_told_to_the_thread_and_the_record_is_handed_back() {
    let handler = |_: Record<u32>| async { Err(Failure::stop("the ledger is gone")) };
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put("a", 1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let events: Vec<_> = bench.inbox.try_iter().collect();
    assert!(matches!(&events[0], Event::Halt(reason) if reason.contains("the ledger is gone")));
    assert!(matches!(
        &events[1],
        Event::Ended {
            offset: 0,
            end: End::HandedBack,
            ..
        }
    ));
}

/// The values that were handled, in the order they began.
fn values(log: &Log) -> Vec<u32> {
    log.lock().unwrap().iter().map(|(_, value, ..)| *value).collect()
}

#[tokio::test(start_paused = true)]
async fn behind_a_record_that_said_stop_nothing_of_its_key_is_handled() {
    let log = Log::default();
    let handler = noting(&log, |value, _| async move {
        if value == 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Err(Failure::stop("the ledger is gone"));
        }
        Ok(())
    });
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put("a", 1);
    bench.put("a", 2);
    // Began before the stop: a surrendered lease alone would let the record in front of it begin.
    bench.put("b", 3);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The thread does not know yet, and goes on taking records.
    bench.put("a", 4);
    bench.put("c", 5);
    let (halts, ends) = bench.told().await;
    assert_eq!(halts, ["stopped by the handler: the ledger is gone"]);
    let back = |offset| (offset, End::HandedBack);
    assert_eq!(ends, [back(0), back(1), (2, End::Done), back(3), back(4)]);
    assert_eq!(values(&log), [1, 3]);
    assert!(bench.shop.live().is_empty(), "a lane was left behind");
}

#[tokio::test(start_paused = true)]
async fn behind_a_record_that_was_cut_the_next_assignment_of_its_partition_goes_on() {
    let log = Log::default();
    let handler = noting(&log, |value, _| async move {
        if value == 1 {
            std::future::pending().await
        } else {
            Ok(())
        }
    });
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put("a", 1);
    bench.put("a", 2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.reassign();
    bench.put("a", 3);
    bench.put("a", 4);
    let (halts, ends) = bench.told().await;
    assert!(halts.is_empty(), "{halts:?}");
    let (back, done) = (|offset| (offset, End::HandedBack), |offset| (offset, End::Done));
    assert_eq!(ends, [back(0), back(1), done(2), done(3)]);
    assert_eq!(values(&log), [1, 3, 4]);
}

/// Panics when it is dropped, as a handler's future may.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "as the test asks");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_dropped_stops_the_consumer_before_its_key_goes_on() {
    let log = Log::default();
    let handler = noting(&log, |value, _| async move {
        if value == 1 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let spec = ConsumerSpec::new().handler_timeout(Duration::from_secs(1));
    let mut bench = Bench::new(spec, handler);
    bench.put("a", 1);
    bench.put("a", 2);
    bench.put("b", 3);
    let (halts, ends) = bench.told().await;
    assert_eq!(halts, ["handling a record panicked: as the test asks"]);
    assert_eq!(ends, [(0, End::HandedBack), (1, End::HandedBack), (2, End::Done)]);
    assert_eq!(values(&log), [1, 3]);
}

/// A record's own deadline, that far from now.
fn due_in(left: Duration) -> Headers {
    let at = hafnium_core::deadline::wire::unix_millis(left, SystemTime::now());
    let header = ("deadline-unix-ms".to_owned(), Bytes::from(at.to_string()));
    [header].into_iter().collect()
}

/// What is left of the task's deadline, in whole seconds, as each attempt sees it.
fn seconds_left(seen: &Arc<Mutex<Vec<u64>>>) -> impl Handler<u32> {
    let seen = seen.clone();
    move |_: Record<u32>| {
        let seen = seen.clone();
        async move {
            let left = Deadline::current().unwrap().remaining();
            seen.lock().unwrap().push(left.as_secs());
            Ok(())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_under_the_records_deadline_where_it_is_nearer_than_its_timeout() {
    let seen = Arc::default();
    let spec = ConsumerSpec::new().order(super::super::spec::Order::ByPartition);
    let mut bench = Bench::new(spec, seconds_left(&seen));
    bench.put_with("a", 1, due_in(Duration::from_secs(20)));
    bench.put_with("a", 2, due_in(Duration::from_secs(3600)));
    bench.put("a", 3);
    for offset in 0..3 {
        assert_eq!(bench.ended().await, (offset, End::Done));
    }
    let seen = seen.lock().unwrap();
    // Room for the machine: the system's clock is not paused.
    assert!((5..=20).contains(&seen[0]), "{seen:?}");
    assert_eq!(seen[1..], [30, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_exceeds_the_records_deadline_is_dropped_and_retried() {
    let log = Log::default();
    let handler = noting(&log, |_, attempt| async move {
        if attempt == 1 {
            std::future::pending().await
        } else {
            Ok(())
        }
    });
    let mut bench = Bench::new(ConsumerSpec::new(), handler);
    bench.put_with("a", 1, due_in(Duration::from_secs(20)));
    assert_eq!(bench.ended().await, (0, End::Done));
    let second = log.lock().unwrap()[1].3;
    assert!(
        (5_000..25_000).contains(&second),
        "second attempt after {second} ms"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_past_its_deadline_is_handled_all_the_same_with_the_handlers_time() {
    let seen = Arc::default();
    let mut bench = Bench::new(ConsumerSpec::new(), seconds_left(&seen));
    bench.put_with("a", 1, due_in(Duration::ZERO));
    assert_eq!(bench.ended().await, (0, End::Done));
    assert_eq!(*seen.lock().unwrap(), [30]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_says_so_does_not_handle_a_record_past_its_deadline() {
    let log = Log::default();
    let spec = ConsumerSpec::new().past_deadline(super::super::spec::PastDeadline::DeadLetter);
    let mut bench = Bench::new(spec, noting(&log, |_, _| async { Ok(()) }));
    bench.put_with("late", 1, due_in(Duration::ZERO));
    bench.put("other", 2);
    // Without brokers the letter can't be sent: the record is neither done nor handed back.
    let (halts, ends) = bench.told().await;
    assert!(halts.is_empty());
    assert_eq!(ends, [(1, End::Done)]);
    assert_eq!(values(&log), [2]);
}
