//! The dead-letter topic: where records go that can't be handled, with everything needed to send them back.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hafnium_core::Classify;
use hafnium_core::resilience::full_jitter;

use super::spec::{ConsumerSpec, MissingTopic};
use super::state::{Problem, State};
use super::work::RawRecord;
use crate::admin;
use crate::failure::Failure;
use crate::producer::{Message, Producer};

/// What our own headers begin with; those of an earlier dead letter are replaced.
const PREFIX: &str = "dead-letter-";
/// Bounds of what a dead letter adds to its record, in bytes.
const MOST_MESSAGE: usize = 1024;
const MOST_CLASS: usize = 128;
const MOST_KEY: usize = 1024;
const MOST_ORIGINAL_HEADERS: usize = 16 * 1024;

/// Why and how often a record failed.
pub(crate) struct Verdict<'a> {
    pub(crate) failure: &'a Failure,
    pub(crate) attempts: u32,
    pub(crate) first_failure: SystemTime,
}

/// Publishes dead letters for one consumer.
pub(crate) struct DeadLetters {
    producer: Producer,
    spec: ConsumerSpec,
    group: String,
    state: Arc<State>,
    /// Topics that were seen to exist.
    known: Mutex<HashSet<String>>,
    /// One look or creation at a time.
    looking: tokio::sync::Mutex<()>,
}

impl DeadLetters {
    pub(crate) fn new(producer: Producer, spec: ConsumerSpec, group: String, state: Arc<State>) -> Self {
        Self {
            producer,
            spec,
            group,
            state,
            known: Mutex::default(),
            looking: tokio::sync::Mutex::new(()),
        }
    }

    /// Sees to it that the dead-letter topics exist, again and again until they do, so that health tells of a missing
    /// one before the first dead letter needs it.
    pub(crate) async fn prepare(&self) {
        for topic in self.spec.topics() {
            let mut attempt = 0;
            while let Err(reason) = self.ensure(topic).await {
                self.state.raise(Problem::DeadLetters, reason);
                attempt += 1;
                self.pause(attempt).await;
            }
        }
        self.state.solve(Problem::DeadLetters);
    }

    /// Returns once the dead-letter topic has acknowledged the record, however long that takes: its offset must not
    /// be passed before. Health is degraded meanwhile.
    ///
    /// Cancel-safety: a dropped call may have published the letter; it comes again with the record.
    pub(crate) async fn publish(&self, raw: &RawRecord, verdict: &Verdict<'_>) {
        let mut attempt = 0;
        loop {
            match self.try_publish(raw, verdict).await {
                Ok(()) => break,
                Err(reason) => self.state.raise(Problem::DeadLetters, reason),
            }
            attempt += 1;
            self.pause(attempt).await;
        }
        self.state.solve(Problem::DeadLetters);
    }

    async fn try_publish(&self, raw: &RawRecord, verdict: &Verdict<'_>) -> Result<(), String> {
        self.ensure(&raw.topic).await?;
        let topic = self.spec.dead_letter_topic_of(&raw.topic);
        let full = letter(&topic, raw, &self.group, verdict, MOST_ORIGINAL_HEADERS);
        let mut result = self.producer.send(full).await;
        // A record near the topic's limit has no room for more headers; its bytes count more than those.
        if result
            .as_ref()
            .is_err_and(|error| error.code() == "kafka.too_large")
        {
            result = self
                .producer
                .send(letter(&topic, raw, &self.group, verdict, 0))
                .await;
        }
        let Err(error) = result else { return Ok(()) };
        if error.code() == "kafka.unknown_topic" {
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&topic);
        }
        Err(error.to_string())
    }

    /// Makes sure that the dead-letter topic of `source` exists. A produce to a missing topic would only fail after
    /// half a minute, librdkafka's wait for a topic to become known.
    async fn ensure(&self, source: &str) -> Result<(), String> {
        let topic = self.spec.dead_letter_topic_of(source);
        let is_known = || {
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&topic)
        };
        if is_known() {
            return Ok(());
        }
        let _looking = self.looking.lock().await;
        if is_known() {
            return Ok(());
        }
        let cluster = self.producer.cluster.clone();
        let (wanted, like, policy) = (topic.clone(), source.to_owned(), self.spec.missing_topic);
        let looked = tokio::task::spawn_blocking(move || {
            if admin::exists(&cluster, &wanted)? {
                return Ok(());
            }
            match policy {
                MissingTopic::Create => {
                    admin::create_like(&cluster, &wanted, &like)?;
                    tracing::info!(topic = wanted, "dead-letter topic made");
                    Ok(())
                }
                MissingTopic::Wait => Err(format!("{wanted} does not exist")),
            }
        });
        looked.await.unwrap_or_else(|error| Err(error.to_string()))?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(topic);
        Ok(())
    }

    async fn pause(&self, attempt: u32) {
        let pause = full_jitter(
            Duration::from_millis(200),
            Duration::from_secs(5),
            attempt,
            fastrand::f64(),
        );
        tokio::time::sleep(pause).await;
    }
}

/// The record with its original bytes and the headers that tell its story.
///
/// It is stamped with the present time: under a record's own old time a retention could delete it at once.
fn letter(topic: &str, raw: &RawRecord, group: &str, verdict: &Verdict<'_>, most_headers: usize) -> Message {
    let mut message = Message::to(topic);
    message.key.clone_from(&raw.key);
    message.payload.clone_from(&raw.payload);
    message.headers = headers(raw, group, verdict, most_headers);
    message
}

fn headers(raw: &RawRecord, group: &str, verdict: &Verdict<'_>, most: usize) -> Vec<(String, Bytes)> {
    let mut headers = Vec::new();
    let (mut room, mut dropped) = (most, 0);
    for (name, value) in raw.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
        let size = name.len() + value.len();
        if size <= room {
            room -= size;
            headers.push((name.to_owned(), value.clone()));
        } else {
            dropped += 1;
        }
    }
    let mut add = |name: &str, value: Bytes| headers.push((format!("{PREFIX}{name}"), value));
    add("topic", text(&raw.topic));
    add("partition", text(&raw.partition.to_string()));
    add("offset", text(&raw.offset.to_string()));
    if let Some(timestamp) = raw.timestamp.and_then(millis) {
        add("timestamp", text(&timestamp));
    }
    if let Some(key) = &raw.key {
        add("key", key.slice(..key.len().min(MOST_KEY)));
    }
    add("group", text(group));
    add("attempts", text(&verdict.attempts.to_string()));
    if let Some(first) = millis(verdict.first_failure) {
        add("first-failure", text(&first));
    }
    add("error-class", text(clip(verdict.failure.class(), MOST_CLASS)));
    add(
        "error-message",
        text(clip(verdict.failure.reason(), MOST_MESSAGE)),
    );
    if dropped > 0 {
        add("headers-dropped", text(&dropped.to_string()));
    }
    headers
}

fn text(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

fn millis(time: SystemTime) -> Option<String> {
    Some(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_millis()
            .to_string(),
    )
}

/// The beginning of `text`, at most `most` bytes, cut between characters.
fn clip(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Headers;

    fn raw(headers: &[(&str, &[u8])]) -> RawRecord {
        RawRecord {
            topic: "payments".into(),
            partition: 3,
            offset: 42,
            key: Some(Bytes::from_static(b"acc\xff")),
            payload: Some(Bytes::from_static(b"{")),
            timestamp: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v)))
                .collect::<Headers>(),
        }
    }

    fn made(raw: &RawRecord, failure: &Failure) -> Headers {
        let first_failure = SystemTime::UNIX_EPOCH + Duration::from_secs(2);
        let verdict = Verdict {
            failure,
            attempts: 10,
            first_failure,
        };
        headers(raw, "risk", &verdict, MOST_ORIGINAL_HEADERS)
            .into_iter()
            .collect()
    }

    #[test]
    fn a_dead_letter_tells_where_it_came_from_and_why() {
        let failure = Failure::dead_letter("not a payment").with_class("undecodable");
        let made = made(&raw(&[("tenant", b"a")]), &failure);
        let expected = [
            ("tenant", "a"),
            ("dead-letter-topic", "payments"),
            ("dead-letter-partition", "3"),
            ("dead-letter-offset", "42"),
            ("dead-letter-timestamp", "1500"),
            ("dead-letter-group", "risk"),
            ("dead-letter-attempts", "10"),
            ("dead-letter-first-failure", "2000"),
            ("dead-letter-error-class", "undecodable"),
            ("dead-letter-error-message", "not a payment"),
        ];
        for (name, value) in expected {
            assert_eq!(made.get_str(name), Some(value), "{name}");
        }
        assert_eq!(
            made.get("dead-letter-key"),
            Some(&b"acc\xff"[..]),
            "keys are bytes"
        );
    }

    #[test]
    fn what_a_dead_letter_adds_is_bounded_and_cut_between_characters() {
        let big = vec![b'x'; MOST_ORIGINAL_HEADERS];
        let record = raw(&[("small", b"kept"), ("big", &big), ("dead-letter-attempts", b"99")]);
        let failure = Failure::retry("ü".repeat(5000));
        let made = made(&record, &failure);
        assert_eq!(made.get_str("small"), Some("kept"));
        assert_eq!(made.get("big"), None);
        assert_eq!(made.get_str("dead-letter-headers-dropped"), Some("1"));
        assert_eq!(
            made.iter()
                .filter(|(name, _)| *name == "dead-letter-attempts")
                .count(),
            1
        );
        let message = made.get_str("dead-letter-error-message").unwrap();
        assert!(message.len() <= MOST_MESSAGE && message.chars().all(|c| c == 'ü'));
    }
}
