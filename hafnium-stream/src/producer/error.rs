//! Why a record was not acknowledged.

use std::time::Duration;

use hafnium_core::{Classified, Classify, Fault, Outcome};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::classify::classify;

/// A record was not acknowledged. [`outcome`](Classify::outcome) says whether it may be in the topic all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sending to \"{topic}\": {reason}")]
pub struct SendError {
    topic: String,
    reason: String,
    answer: Classified,
}

impl SendError {
    /// Where it was to go.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// librdkafka's refusal or the broker's.
    pub(crate) fn native(topic: &str, error: &KafkaError) -> Self {
        let code = error.rdkafka_error_code();
        let reason = code.map_or_else(|| error.to_string(), |code| code.to_string());
        // What has no code (a NUL in the topic's name) was refused before anything was queued.
        let answer = code.map_or(
            Classified::new(Outcome::NotRun, false, Fault::Caller, "kafka.invalid_topic"),
            classify,
        );
        Self::new(topic, reason, answer)
    }

    /// The same for a record that was refused before it was queued: whatever the code, nothing was sent.
    pub(crate) fn refused(topic: &str, error: &KafkaError) -> Self {
        let mut refused = Self::native(topic, error);
        let answer = refused.answer;
        refused.answer = Classified::new(Outcome::NotRun, answer.retryable(), answer.fault(), answer.code());
        refused
    }

    pub(crate) fn no_room(topic: &str, waited: Duration) -> Self {
        let reason = format!("no room in the producer's buffer within {waited:?}");
        Self::new(topic, reason, classify(RDKafkaErrorCode::QueueFull))
    }

    pub(crate) fn no_acknowledgement(topic: &str, waited: Duration) -> Self {
        let reason = format!("no acknowledgement within {waited:?}; it may still be delivered");
        let answer = Classified::new(
            Outcome::Unknown,
            false,
            Fault::Dependency,
            "kafka.no_acknowledgement",
        );
        Self::new(topic, reason, answer)
    }

    pub(crate) fn not_running(topic: &str, state: &'static str) -> Self {
        let answer = Classified::new(Outcome::NotRun, false, Fault::Service, "kafka.not_running");
        Self::new(topic, format!("the producer {state}"), answer)
    }

    fn new(topic: &str, reason: String, answer: Classified) -> Self {
        Self {
            topic: topic.to_owned(),
            reason,
            answer,
        }
    }
}

impl Classify for SendError {
    fn outcome(&self) -> Outcome {
        self.answer.outcome()
    }
    fn retryable(&self) -> bool {
        self.answer.retryable()
    }
    fn fault(&self) -> Fault {
        self.answer.fault()
    }
    fn code(&self) -> &'static str {
        self.answer.code()
    }
}
