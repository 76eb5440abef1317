//! The handle that services hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hafnium_core::{Classify, Deadline};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::delivery::Pending;
use super::error::SendError;
use super::link::{Native, State};
use super::message::{Delivery, Message};
use super::topics::Topic;
use crate::kafka::Cluster;

/// Sends records to one cluster. Cheap to clone; all clones share one native producer.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use hafnium_core::Context;
/// use hafnium_stream::{Kafka, KafkaSettings, Message};
///
/// let kafka = Kafka::connect(KafkaSettings::new("localhost:9092"), &Context::standalone()).await?;
/// let sent = kafka.producer().send(Message::to("risk-scores").key("p-7").json(&42)?).await?;
/// println!("partition {}, offset {}", sent.partition, sent.offset);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Producer {
    pub(crate) cluster: Arc<Cluster>,
}

impl Producer {
    /// Sends `message` and waits until every in-sync replica has it.
    ///
    /// Waits for room in the buffer and for the acknowledgement no longer than the nearest of the cluster's
    /// `delivery_timeout` and the deadline of the request or record that the task serves. librdkafka repeats what a
    /// broker did not take, without doubling or reordering.
    ///
    /// Cancel-safety: a dropped `send` that had room may still deliver the record; one that still waited for room
    /// sends nothing.
    ///
    /// # Errors
    /// [`SendError`], whose outcome is `NotRun` when the record is certainly not in the topic (no room, refused), and
    /// `Unknown` when it may be (no acknowledgement in time).
    pub async fn send(&self, mut message: Message) -> Result<Delivery, SendError> {
        message.stamp(Deadline::current(), SystemTime::now());
        let topic = self.cluster.topics.get(&message.topic);
        let span = span(&message.topic);
        let begun = Instant::now();
        let result = self
            .deliver(message, &topic, &span)
            .instrument(span.clone())
            .await;
        let error = result.as_ref().err().map(Classify::code);
        topic.ended(begun.elapsed().as_secs_f64(), error);
        match (&result, error) {
            (Ok(sent), _) => {
                span.record("messaging.kafka.offset", sent.offset);
                span.record("messaging.destination.partition.id", sent.partition);
            }
            (Err(_), code) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", code);
            }
        }
        result
    }

    async fn deliver(
        &self,
        message: Message,
        topic: &Arc<Topic>,
        span: &Span,
    ) -> Result<Delivery, SendError> {
        let cluster = &*self.cluster;
        let deadline = Deadline::nearest(cluster.settings.delivery_timeout.get());
        let begun = Instant::now();
        // Before waiting for room, so that a producer that was never started says so at once.
        self.native(&message.topic)?;
        let credit = deadline
            .bound(
                "room in the producer's buffer",
                cluster.credits.take(message.weight()),
            )
            .await
            .map_err(|_| SendError::no_room(&message.topic, begun.elapsed()))?
            .ok_or_else(|| SendError::not_running(&message.topic, "was stopped"))?;
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            reply,
            credit,
            topic: topic.clone(),
        };
        self.enqueue(&message, pending, span)?;
        match deadline.bound("an acknowledgement", answer).await {
            Ok(Ok(result)) => result,
            // Without a report nothing is known: the native producer went away with the record.
            Ok(Err(_)) | Err(_) => Err(SendError::no_acknowledgement(&message.topic, begun.elapsed())),
        }
    }

    /// Hands the record to librdkafka, which copies it. Never blocks.
    fn enqueue(&self, message: &Message, pending: Pending, span: &Span) -> Result<(), SendError> {
        let mut headers = message.headers.clone();
        self.cluster.propagation.inject(span, |name, value| {
            headers.retain(|(present, _)| present != name);
            headers.push((name.to_owned(), value.into()));
        });
        let mut record =
            BaseRecord::<[u8], [u8], Box<Pending>>::with_opaque_to(&message.topic, Box::new(pending));
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        record.partition = message.partition;
        record.timestamp = message.timestamp.and_then(millis);
        if !headers.is_empty() {
            let native = OwnedHeaders::new_with_capacity(headers.len());
            record.headers = Some(headers.iter().fold(native, |native, (key, value)| {
                native.insert(Header {
                    key,
                    value: Some(value.as_ref()),
                })
            }));
        }
        let native = self.native(&message.topic)?;
        let topic = record.delivery_opaque.topic.clone();
        topic.departed();
        native.send(record).map_err(|(error, _)| {
            topic.arrived();
            SendError::refused(&message.topic, &error)
        })
    }

    fn native(&self, topic: &str) -> Result<Arc<Native>, SendError> {
        match self.cluster.link.state() {
            State::Running(native) => Ok(native),
            State::NotStarted => Err(SendError::not_running(topic, "was not started")),
            State::Stopped => Err(SendError::not_running(topic, "was stopped")),
        }
    }
}

fn span(topic: &str) -> Span {
    let span = tracing::info_span!(
        "send",
        otel.name = tracing::field::Empty,
        otel.kind = "producer",
        otel.status_code = tracing::field::Empty,
        "error.type" = tracing::field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.destination.name = topic,
        messaging.destination.partition.id = tracing::field::Empty,
        messaging.kafka.offset = tracing::field::Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("send {topic}"));
    }
    span
}

/// Milliseconds since 1970, Kafka's clock.
fn millis(time: SystemTime) -> Option<i64> {
    let since: Duration = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}
