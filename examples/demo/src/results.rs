//! An independent consumer: reads `risk-scores` and the dead-letter topic while the run lasts, and notes when what
//! came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use serde::Deserialize;

pub(crate) const SCORES: &str = "risk-scores";
pub(crate) const DEAD: &str = "payments.dlq.risk-engine";

/// What came, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrived {
    /// Records per payment id in `risk-scores`.
    pub(crate) published: BTreeMap<String, u64>,
    /// Payment ids in the dead-letter topic.
    pub(crate) dead: BTreeSet<String>,
    /// When each score came, in order.
    pub(crate) scores_at: Vec<Instant>,
    /// When each score without a velocity came: Redis could not be asked for it.
    pub(crate) blind_at: Vec<Instant>,
}

/// The consumer's thread; ends and is joined when dropped.
pub(crate) struct Results {
    arrived: Arc<Mutex<Arrived>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Score {
    payment_id: String,
    velocity: Option<i64>,
}

impl Results {
    /// Reads from the beginning of both topics, in a group of its own.
    pub(crate) fn read(bootstrap: &str) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "demo-results")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .create()?;
        consumer.subscribe(&[SCORES, DEAD])?;
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (note, stopping) = (arrived.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                    let payload = message.payload().unwrap_or_default();
                    note.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .note(message.topic(), payload);
                }
            }
        });
        Ok(Self {
            arrived,
            stop,
            thread: Some(thread),
        })
    }

    /// What has come so far.
    pub(crate) fn arrived(&self) -> Arrived {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many scores and dead letters have come so far, by distinct payment.
    pub(crate) fn distinct(&self) -> usize {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.published.len() + arrived.dead.len()
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Arrived {
    fn note(&mut self, topic: &str, payload: &[u8]) {
        if topic == DEAD {
            self.dead.insert(id_in(payload));
            return;
        }
        let now = Instant::now();
        if let Ok(score) = serde_json::from_slice::<Score>(payload) {
            *self.published.entry(score.payment_id).or_default() += 1;
            self.scores_at.push(now);
            if score.velocity.is_none() {
                self.blind_at.push(now);
            }
        }
    }
}

/// The payment id in the bytes of a dead letter, which need not be JSON.
fn id_in(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let id = text
        .split_once(r#""id":""#)
        .and_then(|(_, rest)| rest.split_once('"'));
    id.map_or_else(|| text.clone().into_owned(), |(id, _)| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_dead_letter_is_found_even_in_broken_json() {
        assert_eq!(id_in(br#"{"id":"pay-1","account":"a","amount":"#), "pay-1");
        assert_eq!(id_in(b"no json"), "no json");
    }
}
