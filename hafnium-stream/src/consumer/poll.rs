//! The thread that owns librdkafka's poll: admission here, rebalances and commits in its parts.

mod handover;
mod leave;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hafnium_core::health::Heartbeat;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::time::Instant;

use super::partition::Partitions;
use super::phase::{Phase, finish_by};
use super::pressure::{Flow, Pressure};
use super::process::Workshop;
use super::rebalance::Callbacks;
use super::state::{Problem, State};
use super::work::{End, Event, RawRecord, Work};

/// How long a poll waits for records: the longest that an idle consumer takes to notice anything else.
const IDLE: Duration = Duration::from_millis(50);
/// How often a thread that waits for handlers looks for rebalances.
const WAIT: Duration = Duration::from_millis(10);
/// How many records of one partition may be done and not committable, because one before them is not done.
const MOST_SPAN: usize = 10_000;

pub(crate) struct Poller {
    consumer: BaseConsumer<Callbacks>,
    inbox: Receiver<Event>,
    events: Sender<Event>,
    shop: Arc<Workshop>,
    state: Arc<State>,
    pulse: Heartbeat,
    drain_timeout: Duration,
    partitions: Partitions,
    leaving: VecDeque<Leaving>,
    pressure: Pressure,
    phase: Phase,
    generation: u64,
    next_commit: Instant,
}

/// A revocation that is not answered yet.
struct Leaving {
    partitions: TopicPartitionList,
    until: Instant,
}

impl Poller {
    pub(crate) fn new(
        consumer: BaseConsumer<Callbacks>,
        inbox: Receiver<Event>,
        shop: Arc<Workshop>,
        state: Arc<State>,
        pulse: Heartbeat,
        drain_timeout: Duration,
    ) -> Self {
        let spec = &shop.spec;
        let most_bytes = usize::try_from(spec.max_in_flight_bytes).unwrap_or(usize::MAX);
        Self {
            pressure: Pressure::new(spec.max_in_flight, most_bytes),
            events: shop.events.clone(),
            consumer,
            inbox,
            shop,
            state,
            pulse,
            drain_timeout,
            partitions: Partitions::default(),
            leaving: VecDeque::new(),
            phase: Phase::Running,
            generation: 0,
            next_commit: Instant::now(),
        }
    }

    /// Runs until it was asked to end, or can't go on.
    pub(crate) fn run(mut self) {
        loop {
            let now = Instant::now();
            self.state.poll();
            self.pulse.beat();
            while let Ok(event) = self.inbox.try_recv() {
                self.take(event, now);
            }
            self.serve_rebalances(now);
            self.release(now);
            if now >= self.next_commit {
                self.commit();
                self.next_commit = Instant::now() + self.shop.spec.commit_interval;
            }
            if self.phase.is_draining() && (self.in_hand() == 0 || self.phase.is_past(now)) {
                break;
            }
            self.step(now);
        }
        self.close();
    }

    /// Takes what there is to take, or waits a little.
    fn step(&mut self, now: Instant) {
        if self.phase.is_draining() {
            self.wait(now);
            return self.poll(Duration::ZERO);
        }
        match self.pressure.flow(now) {
            Flow::Poll if self.leaving.is_empty() => self.poll(IDLE),
            Flow::Poll => self.poll(WAIT),
            Flow::Hold => self.wait(now),
            Flow::Pause => {
                self.pause_all();
                self.poll(Duration::ZERO);
            }
            Flow::Paused => {
                self.wait(now);
                self.poll(Duration::ZERO);
            }
            Flow::Resume => {
                self.resume_all();
                self.poll(Duration::ZERO);
            }
        }
    }

    /// Waits for one event.
    fn wait(&mut self, now: Instant) {
        match self.inbox.recv_timeout(WAIT) {
            Ok(event) => self.take(event, now),
            // A sender is held here, so that the channel can't be closed.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Ended {
                lease,
                offset,
                bytes,
                end,
            } => {
                self.pressure.give_back(bytes);
                let Some(partition) = self.partitions.get_mut(&lease.topic, lease.partition) else {
                    return;
                };
                // Late: the partition was taken away and given back since.
                if partition.lease.generation != lease.generation {
                    return;
                }
                match end {
                    End::Done => partition.tracker.done(offset),
                    End::HandedBack => partition.tracker.hand_back(offset),
                }
                if partition.paused && partition.tracker.span() <= MOST_SPAN / 2 {
                    partition.paused = false;
                    if !self.pressure.is_paused() {
                        let list = one(&lease.topic, lease.partition);
                        report("resume", self.consumer.resume(&list));
                    }
                }
            }
            Event::Drain => self.drain(None),
            Event::Stop(deadline) => self.drain(Some(finish_by(now, deadline))),
            Event::Halt(reason) => self.fail(reason, now),
            Event::Abandon => self.drain(Some(now)),
        }
    }

    /// Ends by itself, which is seen at once. What began is finished as on a revocation: a record may wait for ever,
    /// as for a missing dead-letter topic, and nobody would come to end the wait.
    fn fail(&mut self, reason: String, now: Instant) {
        tracing::error!(group = self.shop.group, reason, "the consumer stops");
        self.state.fail(reason);
        self.drain(Some(now + self.drain_timeout));
    }

    fn drain(&mut self, until: Option<Instant>) {
        if !self.phase.is_draining() {
            for partition in self.partitions.iter_mut() {
                partition.surrender();
            }
            self.pause_all();
        }
        self.phase.drain(until);
    }

    fn poll(&mut self, limit: Duration) {
        let Self { consumer, .. } = self;
        let admitted = match consumer.poll(limit) {
            None => return,
            Some(Ok(message)) => {
                let Some(partition) = self.partitions.get_mut(message.topic(), message.partition()) else {
                    // Fetched before the partition was given back.
                    return;
                };
                if partition.leaving || !partition.tracker.take(message.offset()) {
                    return;
                }
                let full = !partition.paused && partition.tracker.span() >= MOST_SPAN;
                if full {
                    partition.paused = true;
                    report(
                        "pause",
                        consumer.pause(&one(message.topic(), message.partition())),
                    );
                }
                let bytes = message.payload_len() + message.key_len();
                let raw = raw(&message, partition.lease.topic.clone());
                self.pressure.take(bytes);
                Ok(Work::new(
                    raw,
                    partition.lease.clone(),
                    bytes,
                    self.events.clone(),
                ))
            }
            Some(Err(error)) => Err(error),
        };
        match admitted {
            Ok(work) => {
                self.shop.figures.consumed(&work.raw.topic);
                self.shop.accept(work);
            }
            Err(error) => self.complain(&error),
        }
    }

    /// An error of librdkafka that came in place of a record. It repairs what can be repaired by itself.
    fn complain(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                self.fail(format!("librdkafka gave up: {code}"), Instant::now());
            }
            KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed),
            ) => {
                let topics = self.shop.spec.topics().join(", ");
                self.state
                    .raise(Problem::Subscription, format!("{topics}: {code}"));
            }
            other => tracing::debug!(group = self.shop.group, error = %other, "librdkafka reports an error"),
        }
    }

    fn in_hand(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| partition.tracker.in_hand())
            .sum()
    }

    fn pause_all(&mut self) {
        let list = self.all(|_| true);
        report("pause", self.consumer.pause(&list));
    }

    fn resume_all(&mut self) {
        let list = self.all(|partition| !partition.paused);
        report("resume", self.consumer.resume(&list));
    }

    fn all(&self, wanted: impl Fn(&super::partition::Partition) -> bool) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in self.partitions.iter().filter(|partition| wanted(partition)) {
            list.add_partition(&partition.lease.topic, partition.lease.partition);
        }
        list
    }
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// A call that fails only where librdkafka has moved on, as when a partition is gone in the meantime.
fn report(call: &'static str, result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::debug!(call, %error, "librdkafka did not take a call");
    }
}

fn raw(message: &BorrowedMessage<'_>, topic: Arc<str>) -> RawRecord {
    let headers = message.headers().map(|headers| {
        let owned = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice).unwrap_or_default();
        headers
            .iter()
            .map(|header| (header.key.to_owned(), owned(header.value)))
            .collect()
    });
    let millis = message
        .timestamp()
        .to_millis()
        .and_then(|millis| u64::try_from(millis).ok());
    RawRecord {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        timestamp: millis.map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
        headers: headers.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
