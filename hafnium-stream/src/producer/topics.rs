//! What is counted per topic, resolved once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hafnium_core::metrics::{Counter, Histogram, Metrics};

/// More topics than this share one set of labels: a label must stay bounded whatever callers name.
const MOST: usize = 200;

pub(crate) struct Topics {
    sent: Counter,
    duration: Histogram,
    known: RwLock<HashMap<String, Arc<Topic>>>,
}

pub(crate) struct Topic {
    label: String,
    sent: Counter,
    sent_any: Counter,
    duration: Histogram,
    in_flight: AtomicUsize,
}

impl Topics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            sent: metrics.counter(
                "messaging.client.sent.messages",
                "{message}",
                "Records that were to be sent, by how that ended",
            ),
            duration: metrics.histogram(
                "messaging.client.operation.duration",
                "s",
                "Time from send to acknowledgement or failure",
                crate::kafka::SECONDS,
            ),
            known: RwLock::default(),
        }
    }

    pub(crate) fn get(&self, topic: &str) -> Arc<Topic> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = known.get(topic) {
            return topic.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let name = if known.len() < MOST { topic } else { "_OTHER" };
        known
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(self.make(name)))
            .clone()
    }

    fn make(&self, label: &str) -> Topic {
        let labels = labels(label);
        Topic {
            label: label.to_owned(),
            sent: self.sent.with(&labels),
            sent_any: self.sent.clone(),
            duration: self.duration.with(&labels),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// The topics with records under way, each with how many.
    pub(crate) fn in_flight(&self) -> Vec<(String, usize)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut waiting: Vec<_> = known
            .values()
            .map(|topic| (topic.label.clone(), topic.in_flight.load(Ordering::Acquire)))
            .filter(|(_, count)| *count > 0)
            .collect();
        waiting.sort();
        waiting
    }
}

fn labels(topic: &str) -> [(&'static str, &str); 3] {
    [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.destination.name", topic),
    ]
}

impl Topic {
    /// Counts how one send ended; `error` is the failure's stable code.
    pub(crate) fn ended(&self, seconds: f64, error: Option<&'static str>) {
        self.duration.record(seconds);
        match error {
            None => self.sent.add(1),
            Some(code) => {
                let [system, operation, topic] = labels(&self.label);
                self.sent_any
                    .with(&[system, operation, topic, ("error.type", code)])
                    .add(1);
            }
        }
    }

    pub(crate) fn departed(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn arrived(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
