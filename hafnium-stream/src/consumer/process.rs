//! From a taken record to its end: attempts, pauses, dead letter.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::FutureExt;
use hafnium_core::propagation::Propagation;
use hafnium_core::resilience::full_jitter;
use hafnium_core::{BoxFuture, Deadline};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::dead_letter::{DeadLetters, Verdict};
use super::figures::Figures;
use super::lane::{LaneKey, Lanes};
use super::lease::Lease;
use super::spec::ConsumerSpec;
use super::wanted::{self, Limit};
use super::work::{End, Event, RawRecord, Work};
use crate::failure::{Disposition, Failure};
use crate::handler::{Decode, Handler};
use crate::record::Record;

/// The class of a failure because of the record's own deadline.
const PAST_DEADLINE: &str = "past_deadline";

/// A decoder and a handler behind one type.
pub(crate) trait Process: Send + Sync + 'static {
    /// One attempt; `Err` when the bytes are not a value.
    fn attempt<'a>(
        &'a self,
        raw: &RawRecord,
        attempt: u32,
    ) -> Result<BoxFuture<'a, Result<(), Failure>>, String>;
}

pub(crate) struct Handling<T, D, H> {
    pub(crate) decoder: D,
    pub(crate) handler: H,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<T: 'static, D: Decode<T>, H: Handler<T>> Process for Handling<T, D, H> {
    fn attempt<'a>(
        &'a self,
        raw: &RawRecord,
        attempt: u32,
    ) -> Result<BoxFuture<'a, Result<(), Failure>>, String> {
        // Decoded anew for each attempt: a handler owns its value, and values need not be `Clone`.
        let value = self
            .decoder
            .decode(raw.payload.as_ref())
            .map_err(|error| error.to_string())?;
        Ok(Box::pin(self.handler.handle(Record {
            value,
            key: raw.key.clone(),
            topic: raw.topic.clone(),
            partition: raw.partition,
            offset: raw.offset,
            timestamp: raw.timestamp,
            headers: raw.headers.clone(),
            attempt,
        })))
    }
}

/// Where records are handled: the lanes of one consumer and what their tasks share.
pub(crate) struct Workshop {
    pub(crate) process: Arc<dyn Process>,
    pub(crate) spec: ConsumerSpec,
    pub(crate) group: String,
    pub(crate) places: Semaphore,
    pub(crate) lanes: Mutex<Lanes<LaneKey, Work>>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) figures: Figures,
    pub(crate) propagation: Propagation,
    pub(crate) runtime: Handle,
    pub(crate) events: Sender<Event>,
}

impl Workshop {
    /// Takes a record into its lane. Called by the polling thread; never blocks.
    pub(crate) fn accept(self: &Arc<Self>, work: Work) {
        let raw = &work.raw;
        let key = LaneKey::of(
            self.spec.order,
            &raw.topic,
            raw.partition,
            raw.key.as_ref(),
            raw.offset,
        );
        let now = self
            .lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .arrive(&key, work);
        if let Some(work) = now {
            let shop = self.clone();
            self.runtime.spawn(async move { shop.walk(key, work).await });
        }
    }

    /// How many keys of each partition have records that wait or are being handled.
    pub(crate) fn live(&self) -> BTreeMap<(Arc<str>, i32), usize> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live = BTreeMap::new();
        for key in lanes.keys() {
            *live.entry(key.partition()).or_default() += 1;
        }
        live
    }

    /// One lane from its first record until none waits.
    async fn walk(&self, key: LaneKey, first: Work) {
        let mut next = Some(first);
        while let Some(work) = next {
            let span = self.span(&work.raw);
            let lease = work.lease.clone();
            // A panic outside the handler's own boundary must not leave the lane blocked for ever.
            let handled = AssertUnwindSafe(self.handle(work).instrument(span))
                .catch_unwind()
                .await;
            let end = handled.unwrap_or_else(|panic| {
                // Without a halt the partition would stand still and nobody would know.
                self.halt(&lease, format!("handling a record panicked: {}", said(&*panic)));
                End::HandedBack
            });
            next = self.next(&key, &lease, end);
        }
    }

    /// What a lane goes on with once a record of `lease` came to its end.
    ///
    /// Behind a record that was handed back nothing of the same lease may be handled, or it would take effect before
    /// that record does. The lease is surrendered first: what arrives once the lane is free can't begin either. Records
    /// of a later lease do go on, as it began with the record that was handed back.
    fn next(&self, key: &LaneKey, lease: &Arc<Lease>, end: End) -> Option<Work> {
        if end == End::HandedBack {
            lease.surrender();
        }
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = lanes.next(key)?;
            if end == End::Done || !Arc::ptr_eq(lease, &next.lease) {
                return Some(next);
            }
        }
    }

    /// Asks the thread to end the consumer. Nothing of the partition begins from here on: the thread may be busy, and
    /// must not be waited for.
    fn halt(&self, lease: &Lease, reason: String) {
        lease.surrender();
        // The thread may be ending already.
        let _ = self.events.send(Event::Halt(reason));
    }

    async fn handle(&self, work: Work) -> End {
        let cut = work.lease.cut.clone();
        // Cut: the partition goes to another member, and nothing of it may go on here.
        let end = cut.run_until_cancelled(self.settle(&work)).await;
        match end {
            Some(End::Done) => {
                work.done();
                End::Done
            }
            Some(End::HandedBack) | None => End::HandedBack,
        }
    }

    /// Attempts until there is an answer.
    async fn settle(&self, work: &Work) -> End {
        let raw = &work.raw;
        let mut first_failure = None;
        let mut attempt = 1;
        loop {
            let Ok(place) = self.places.acquire().await else {
                return End::HandedBack;
            };
            if attempt == 1 && !work.lease.begin(raw.offset) {
                return End::HandedBack;
            }
            let Err(failure) = self.attempt(raw, attempt).await else {
                return End::Done;
            };
            // A record that waits must not keep others from their turn.
            drop(place);
            let first_failure = *first_failure.get_or_insert_with(SystemTime::now);
            match failure.disposition() {
                Disposition::Skip => {
                    tracing::warn!(
                        class = failure.class(),
                        reason = failure.reason(),
                        "record skipped"
                    );
                    return End::Done;
                }
                Disposition::Stop => {
                    let reason = format!("stopped by the handler: {}", failure.reason());
                    self.halt(&work.lease, reason);
                    return End::HandedBack;
                }
                Disposition::Retry if attempt < self.spec.max_attempts => {
                    let (first, most) = self.spec.backoff;
                    let pause = full_jitter(first, most, attempt, fastrand::f64());
                    tracing::debug!(
                        attempt,
                        class = failure.class(),
                        reason = failure.reason(),
                        ?pause,
                        "retried"
                    );
                    self.figures.retried(&raw.topic, &failure);
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                Disposition::Retry | Disposition::DeadLetter => {
                    let verdict = Verdict {
                        failure: &failure,
                        attempts: attempt,
                        first_failure,
                    };
                    self.dead_letters.publish(raw, &verdict).await;
                    self.figures.dead_lettered(&raw.topic, &failure);
                    tracing::warn!(
                        partition = raw.partition,
                        offset = raw.offset,
                        attempt,
                        class = failure.class(),
                        reason = failure.reason(),
                        "record dead-lettered"
                    );
                    return End::Done;
                }
            }
        }
    }

    /// One attempt, within its time, with every way to fail turned into a [`Failure`].
    async fn attempt(&self, raw: &RawRecord, attempt: u32) -> Result<(), Failure> {
        let begun = Instant::now();
        let spec = &self.spec;
        let limit = wanted::limit(
            &raw.headers,
            spec.handler_timeout,
            spec.past_deadline,
            SystemTime::now(),
        );
        if matches!(limit, Limit::Late(_) | Limit::Unwanted) {
            self.figures.past_deadline(&raw.topic);
        }
        let (deadline, late) = match limit {
            Limit::Handler(left) | Limit::Late(left) => (Deadline::after(left), "handler_timeout"),
            Limit::Record(left) => (Deadline::after(left), PAST_DEADLINE),
            Limit::Unwanted => {
                return Err(Failure::dead_letter("its deadline has passed").with_class(PAST_DEADLINE));
            }
        };
        let handled = AssertUnwindSafe(async {
            match self.process.attempt(raw, attempt) {
                Ok(handled) => handled.await,
                Err(reason) => Err(Failure::dead_letter(reason).with_class("undecodable")),
            }
        });
        let result = match deadline
            .scope(deadline.bound("the handler", handled.catch_unwind()))
            .await
        {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                Err(Failure::retry(format!("the handler panicked: {}", said(&*panic))).with_class("panic"))
            }
            Err(error) => Err(Failure::retry(error).with_class(late)),
        };
        let failure = result.as_ref().err();
        self.figures
            .attempted(&raw.topic, begun.elapsed().as_secs_f64(), failure);
        if let Some(failure) = failure {
            Span::current().record("otel.status_code", "ERROR");
            Span::current().record("error.type", failure.class());
        }
        result
    }

    fn span(&self, raw: &RawRecord) -> Span {
        let span = tracing::info_span!(
            "process",
            otel.name = tracing::field::Empty,
            otel.kind = "consumer",
            otel.status_code = tracing::field::Empty,
            "error.type" = tracing::field::Empty,
            messaging.system = "kafka",
            messaging.operation.name = "process",
            messaging.destination.name = &*raw.topic,
            messaging.destination.partition.id = raw.partition,
            messaging.consumer.group.name = self.group,
            messaging.kafka.offset = raw.offset,
        );
        if !span.is_disabled() {
            span.record("otel.name", format!("process {}", raw.topic));
        }
        self.propagation
            .extract(&span, |name| raw.headers.get_str(name).map(str::to_owned));
        span
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("nothing that can be shown")
}

#[cfg(test)]
pub(super) mod tests;
