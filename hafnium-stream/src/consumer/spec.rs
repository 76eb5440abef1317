//! What is declared of a consumer, before anything runs.

use std::time::Duration;

use hafnium_core::config::ByteSize;

/// A consumer as it is declared: what it reads, as which group, within which bounds.
///
/// ```
/// use hafnium_stream::ConsumerSpec;
///
/// let spec = ConsumerSpec::new().kafka("events").topic("payments").group("risk-engine").concurrency(32);
/// assert_eq!(spec.topics(), ["payments"]);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ConsumerSpec {
    pub(crate) kafka: Option<String>,
    pub(crate) topics: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) order: Order,
    pub(crate) start_at: StartAt,
    pub(crate) concurrency: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_bytes: u64,
    pub(crate) handler_timeout: Duration,
    pub(crate) past_deadline: PastDeadline,
    pub(crate) max_attempts: u32,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) dead_letter_topic: Option<String>,
    pub(crate) missing_topic: MissingTopic,
    pub(crate) commit_interval: Duration,
    pub(crate) drain_timeout: Option<Duration>,
}

/// Which records wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Order {
    /// Records of one key, in the order of their offsets; records without a key wait for none.
    #[default]
    ByKey,
    /// All records of one partition.
    ByPartition,
    /// None.
    None,
}

/// Where a group without a committed offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// At the oldest record that the topic still has, so that nothing is missed.
    #[default]
    Earliest,
    /// Behind the newest record at the time of the first assignment.
    Latest,
}

/// What to do about a dead-letter topic that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MissingTopic {
    /// Make it, with as many partitions as the source and the brokers' default replication. Where the brokers do not
    /// allow it, the record waits as with [`MissingTopic::Wait`].
    #[default]
    Create,
    /// Hold the record, and with it its key and its partition's commit, until someone makes the topic; health says so.
    Wait,
}

/// What to do with a record whose own deadline (the header `deadline-unix-ms`) has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PastDeadline {
    /// Handle it as if it had none: a record is a fact, and being late rarely makes it untrue. Counted in
    /// `hafnium.consumer.past_deadline`.
    #[default]
    Handle,
    /// Move it to the dead-letter topic without handling it, with the class `past_deadline`. For records that are
    /// questions, to which a late answer is of no use. The letter keeps the header: sent back as it is, it comes again.
    DeadLetter,
}

impl Default for ConsumerSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsumerSpec {
    /// Nothing read yet, every bound at its default.
    pub fn new() -> Self {
        Self {
            kafka: None,
            topics: Vec::new(),
            group: None,
            order: Order::default(),
            start_at: StartAt::default(),
            concurrency: 16,
            max_in_flight: 1000,
            max_in_flight_bytes: 32 << 20,
            handler_timeout: Duration::from_secs(30),
            past_deadline: PastDeadline::default(),
            max_attempts: 10,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            dead_letter_topic: None,
            missing_topic: MissingTopic::default(),
            commit_interval: Duration::from_millis(250),
            drain_timeout: None,
        }
    }

    /// The cluster, by its declared name. Needed where a service declares several.
    pub fn kafka(mut self, name: impl Into<String>) -> Self {
        self.kafka = Some(name.into());
        self
    }

    /// Adds a topic. It need not exist yet.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// The group that shares the topic's partitions, usually the service's name.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Which records wait for each other; default [`Order::ByKey`].
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Where a group without a committed offset starts; default [`StartAt::Earliest`].
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// How many handlers run at once; default 16. A record that waits for its next attempt takes no place.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How many records may be taken and not yet done; default 1000. Beyond it nothing is polled.
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.max_in_flight = records;
        self
    }

    /// How many bytes may be taken and not yet done; default 32 MiB.
    pub fn max_in_flight_bytes(mut self, size: ByteSize) -> Self {
        self.max_in_flight_bytes = size.bytes();
        self
    }

    /// How long one attempt may take; default 30 s. Beyond it the attempt has failed and its future is dropped; its
    /// key goes on only then.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.handler_timeout = limit;
        self
    }

    /// What to do with a record whose own deadline has passed; default [`PastDeadline::Handle`].
    ///
    /// The deadline is what its producer wrote ([`Message::deadline`](crate::Message::deadline)). Until it passes, an
    /// attempt ends with it where it is nearer than the `handler_timeout`.
    pub fn past_deadline(mut self, policy: PastDeadline) -> Self {
        self.past_deadline = policy;
        self
    }

    /// After how many attempts a record that keeps failing is dead-lettered; default 10. With the default backoff
    /// that outlasts a failover of about a quarter of a minute on top of what the attempts themselves wait.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The upper bound of the first pause between two attempts, which doubles up to `most`; default 100 ms and 10 s.
    /// Each pause is drawn between zero and its bound.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = (first, most);
        self
    }

    /// Where records go that can't be handled; default `<topic>.dlq.<group>`.
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.dead_letter_topic = Some(topic.into());
        self
    }

    /// What to do when the dead-letter topic does not exist; default [`MissingTopic::Create`].
    pub fn missing_dead_letter_topic(mut self, policy: MissingTopic) -> Self {
        self.missing_topic = policy;
        self
    }

    /// How often offsets are committed; default 250 ms. What is done and not committed comes again after a crash.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// How long a partition that is taken away may finish what it holds; must be below the cluster's
    /// `session_timeout`. A consumer that ends by itself, as when a handler stops it, has as long to finish what it
    /// holds. Default half of the session timeout, at most 5 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = Some(limit);
        self
    }

    /// The declared cluster, if one was named.
    pub fn kafka_name(&self) -> Option<&str> {
        self.kafka.as_deref()
    }

    /// The declared topics.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The declared group.
    pub fn group_name(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Where records of `topic` go that can't be handled.
    pub fn dead_letter_topic_of(&self, topic: &str) -> String {
        match &self.dead_letter_topic {
            Some(topic) => topic.clone(),
            None => format!("{topic}.dlq.{}", self.group.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn check(&self, session_timeout: Duration) -> Result<Duration, SpecError> {
        let value = |what, reason| Err(SpecError { what, reason });
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            return value("topic", "expected at least one topic, each with a name");
        }
        if self.group.as_deref().is_none_or(str::is_empty) {
            return value("group", "expected the name of a group");
        }
        if self
            .dead_letter_topic
            .as_ref()
            .is_some_and(|topic| self.topics.contains(topic))
        {
            return value(
                "dead_letter_topic",
                "it is one of the topics read, so dead letters would come again",
            );
        }
        if self.concurrency == 0 || self.max_in_flight == 0 || self.max_in_flight_bytes == 0 {
            return value("concurrency and max_in_flight", "expected at least 1");
        }
        if self.max_attempts == 0 {
            return value("max_attempts", "expected at least 1");
        }
        if self.handler_timeout.is_zero() || self.backoff.0.is_zero() || self.backoff.1 < self.backoff.0 {
            return value(
                "handler_timeout and backoff",
                "expected more than zero, the longest pause not below the first",
            );
        }
        let drain = self
            .drain_timeout
            .unwrap_or((session_timeout / 2).min(Duration::from_secs(5)));
        if drain >= session_timeout {
            return value(
                "drain_timeout",
                "expected less than the cluster's session_timeout",
            );
        }
        Ok(drain)
    }
}

/// Why a declared consumer can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct SpecError {
    what: &'static str,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_contradicts_itself_is_named() {
        let session = Duration::from_secs(10);
        let good = ConsumerSpec::new().topic("payments").group("risk-engine");
        assert_eq!(good.check(session), Ok(Duration::from_secs(5)));
        let bad = [
            (ConsumerSpec::new().group("g"), "topic"),
            (ConsumerSpec::new().topic("t"), "group"),
            (good.clone().dead_letter_topic("payments"), "dead_letter_topic"),
            (good.clone().max_attempts(0), "max_attempts"),
            (good.clone().drain_timeout(session), "drain_timeout"),
        ];
        for (spec, named) in bad {
            assert!(
                spec.check(session).unwrap_err().to_string().starts_with(named),
                "{named}"
            );
        }
    }
}
