//! What a consumer counts, resolved once per topic.

use std::collections::HashMap;

use hafnium_core::metrics::{Counter, Histogram, Label, Metrics};

use crate::failure::Failure;

pub(crate) struct Figures {
    group: String,
    consumed: Counter,
    duration: Histogram,
    retries: Counter,
    dead_letters: Counter,
    past_deadline: Counter,
    topics: HashMap<String, Topic>,
}

struct Topic {
    consumed: Counter,
    duration: Histogram,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics, group: &str, topics: &[String]) -> Self {
        let consumed = metrics.counter("messaging.client.consumed.messages", "{message}", "Records taken");
        let duration = metrics.histogram(
            "messaging.process.duration",
            "s",
            "Time that one attempt of the handler took",
            crate::kafka::SECONDS,
        );
        let topics = topics
            .iter()
            .map(|topic| {
                let labels = labels(topic, group);
                let resolved = Topic {
                    consumed: consumed.with(&labels),
                    duration: duration.with(&labels),
                };
                (topic.clone(), resolved)
            })
            .collect();
        Self {
            group: group.to_owned(),
            consumed,
            duration,
            retries: metrics.counter(
                "hafnium.consumer.retries",
                "{attempt}",
                "Attempts that will be repeated",
            ),
            dead_letters: metrics.counter(
                "hafnium.consumer.dead_letters",
                "{message}",
                "Records acknowledged by the dead-letter topic",
            ),
            past_deadline: metrics.counter(
                "hafnium.consumer.past_deadline",
                "{attempt}",
                "Attempts that were due when the record's own deadline had passed",
            ),
            topics,
        }
    }

    pub(crate) fn consumed(&self, topic: &str) {
        match self.topics.get(topic) {
            Some(topic) => topic.consumed.add(1),
            None => self.consumed.with(&labels(topic, &self.group)).add(1),
        }
    }

    /// One attempt took `seconds`.
    pub(crate) fn attempted(&self, topic: &str, seconds: f64, failure: Option<&Failure>) {
        match (failure, self.topics.get(topic)) {
            (None, Some(topic)) => topic.duration.record(seconds),
            (None, None) => self.duration.with(&labels(topic, &self.group)).record(seconds),
            (Some(failure), _) => self.failed(topic, failure, |labels| {
                self.duration.with(labels).record(seconds);
            }),
        }
    }

    pub(crate) fn past_deadline(&self, topic: &str) {
        self.past_deadline.with(&labels(topic, &self.group)).add(1);
    }

    pub(crate) fn retried(&self, topic: &str, failure: &Failure) {
        self.failed(topic, failure, |labels| self.retries.with(labels).add(1));
    }

    pub(crate) fn dead_lettered(&self, topic: &str, failure: &Failure) {
        self.failed(topic, failure, |labels| self.dead_letters.with(labels).add(1));
    }

    fn failed(&self, topic: &str, failure: &Failure, record: impl FnOnce(&[Label<'_>])) {
        let [system, destination, group] = labels(topic, &self.group);
        record(&[system, destination, group, ("error.type", failure.class())]);
    }
}

fn labels<'a>(topic: &'a str, group: &'a str) -> [Label<'a>; 3] {
    [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", topic),
        ("messaging.consumer.group.name", group),
    ]
}
