//! The way of ended spans to the exporter: a bounded queue and a thread of its own.
//!
//! The SDK's own batch processor does not tell how many spans it dropped, and its shutdown waits as long as the
//! exporter does. Here every span that is not delivered is counted, and a flush is one more message behind the spans it
//! waits for: who asked decides how long to wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use hafnium_core::metrics::Counter;
use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use crate::delivery::Delivery;
use crate::redaction::{REDACTED, is_secret};

/// Spans that are sent at once.
const BATCH: usize = 512;

enum Message {
    Span(Box<SpanData>),
    Flush(SyncSender<bool>),
    Close,
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SpanQueue {
    sender: SyncSender<Message>,
    dropped: Counter,
    closed: Arc<AtomicBool>,
}

impl SpanQueue {
    /// Starts the thread that exports through `exporter` each `interval`, and earlier when a batch is full. `capacity`
    /// spans wait at most; those that are dropped are counted in `dropped`.
    pub(crate) fn start(
        exporter: impl SpanExporter + 'static,
        capacity: usize,
        interval: Duration,
        dropped: Counter,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(capacity.max(1));
        let delivery = Delivery::new("spans");
        delivery.count_in(dropped.clone());
        let worker = Worker {
            exporter,
            batch: Vec::with_capacity(BATCH),
            delivery,
        };
        thread::Builder::new()
            .name("hafnium-spans".to_owned())
            .spawn(move || worker.run(&receiver, interval))?;
        Ok(Self {
            sender,
            dropped,
            closed: Arc::default(),
        })
    }

    /// Exports what ended before; returns whether all of it was delivered, which is so when the queue was closed
    /// before. Blocks until the exporter is done, so it belongs on a thread of its own.
    pub(crate) fn flush(&self) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        if self.sender.send(Message::Flush(done)).is_err() {
            return self.closed.load(Ordering::Acquire);
        }
        wait.recv()
            .unwrap_or_else(|_| self.closed.load(Ordering::Acquire))
    }

    /// Ends the thread, without waiting for it. Spans that end later are dropped and counted.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // A full queue means an exporter that is stuck: then the process ends without it.
        let _ = self.sender.try_send(Message::Close);
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let sent = self.sender.try_send(Message::Span(Box::new(span)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            self.dropped.add(1);
        }
    }

    /// Nothing is done when the SDK asks: it would wait without a deadline. [`flush`](Self::flush) delivers.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The SDK asks when its provider is dropped; what waits then is still delivered. [`close`](Self::close) ends it.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Worker<E> {
    exporter: E,
    batch: Vec<SpanData>,
    delivery: Delivery,
}

impl<E: SpanExporter> Worker<E> {
    fn run(mut self, receiver: &Receiver<Message>, interval: Duration) {
        // What the exporter's HTTP client does must not become spans of its own.
        let _quiet = Context::enter_telemetry_suppressed_scope();
        let mut due = Instant::now() + interval;
        loop {
            match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Span(span)) => {
                    self.batch.push(*span);
                    if self.batch.len() < BATCH {
                        continue;
                    }
                    self.export();
                }
                Ok(Message::Flush(done)) => {
                    let delivered = self.export();
                    // Who asked may have given up.
                    let _ = done.send(delivered);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.export();
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.export();
                    return;
                }
            }
            due = Instant::now() + interval;
        }
    }

    fn export(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let count = batch.len() as u64;
        batch.iter_mut().for_each(redact);
        let result = futures_executor::block_on(self.exporter.export(batch));
        self.delivery.note(count, &result);
        result.is_ok()
    }
}

fn redact(span: &mut SpanData) {
    let hide = |attributes: &mut Vec<KeyValue>| {
        for attribute in attributes {
            if is_secret(attribute.key.as_str()) {
                attribute.value = REDACTED.into();
            }
        }
    };
    hide(&mut span.attributes);
    for event in &mut span.events.events {
        hide(&mut event.attributes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hafnium_core::metrics::Metrics;
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::exposition::Exposition;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// An exporter that is stuck until its sender is dropped.
    #[derive(Debug)]
    struct Stuck(Mutex<mpsc::Receiver<()>>);

    impl SpanExporter for Stuck {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.0.lock().unwrap().recv();
            Ok(())
        }
    }

    fn end_spans(queue: &SpanQueue, count: usize) {
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue.clone())
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..count {
            let mut span = tracer.start("work");
            span.set_attribute(KeyValue::new("user", "ada"));
            span.set_attribute(KeyValue::new("api_key", "12345"));
            span.end();
        }
    }

    #[test]
    fn a_flush_delivers_every_span_that_ended_before_it_without_its_secrets() {
        let dropped = Metrics::noop().counter("dropped", "{span}", "");
        let kept = Kept::default();
        let queue = SpanQueue::start(kept.clone(), 2048, Duration::from_secs(3600), dropped).unwrap();
        end_spans(&queue, 1000);
        assert!(queue.flush());
        let spans = kept.0.lock().unwrap();
        assert_eq!(spans.len(), 1000);
        let value = |key| {
            let found = spans[0].attributes.iter().find(|kv| kv.key.as_str() == key);
            found.unwrap().value.to_string()
        };
        assert_eq!((value("user"), value("api_key")), ("ada".into(), REDACTED.into()));
    }

    #[test]
    fn a_stuck_exporter_costs_nothing_and_what_is_dropped_is_counted() {
        let (exposition, reader) = Exposition::new().unwrap();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let dropped = Metrics::from_provider(&meters).counter("dropped", "{span}", "");
        let (release, stuck) = mpsc::channel();
        let queue =
            SpanQueue::start(Stuck(Mutex::new(stuck)), 16, Duration::from_millis(1), dropped).unwrap();
        let begun = Instant::now();
        end_spans(&queue, 5000);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let text = exposition.render();
        let value = text.lines().find_map(|line| line.strip_prefix("dropped_total "));
        let count: usize = value
            .unwrap_or_else(|| panic!("no drops in {text}"))
            .parse()
            .unwrap();
        // At most the queue and the batch in the exporter's hands were not dropped.
        assert!((5000 - 16 - 2 * BATCH..5000).contains(&count), "{count}");
        drop(release);
    }
}
