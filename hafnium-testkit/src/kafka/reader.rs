//! Everything a topic holds, read by a plain consumer: what a referee counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::Error;

/// Whether records of transactions that were not committed are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// Every record that is stored.
    #[default]
    Uncommitted,
    /// Up to the first open transaction, without the records of aborted ones.
    Committed,
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoredRecord {
    /// The partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Option<Vec<u8>>,
    /// Names and values in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Reads a whole topic, from the first record to what is the end when the reading starts; within a partition in order. It
/// joins no group and commits nothing.
///
/// Cancelling leaves a thread that ends after `limit` at the latest.
///
/// # Errors
/// [`Error::Refused`] when there is no such topic or a record cannot be read, [`Error::NotReady`] after `limit`.
pub async fn read_topic(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
    limit: Duration,
) -> Result<Vec<StoredRecord>, Error> {
    let (bootstrap, name) = (bootstrap.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read(&bootstrap, &name, isolation, limit))
        .await
        .map_err(|error| Error::refused(format!("read {topic}"), error))?
}

fn read(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
    limit: Duration,
) -> Result<Vec<StoredRecord>, Error> {
    let start = Instant::now();
    let left = || limit.saturating_sub(start.elapsed());
    let refused = |error: KafkaError| Error::refused(format!("read {topic}"), error);
    let consumer = consumer(bootstrap, isolation).map_err(refused)?;
    let mut ends = ends(&consumer, topic, left()).map_err(refused)?;
    if ends.is_empty() {
        return Err(Error::refused(format!("read {topic}"), "there is no such topic"));
    }
    ends.retain(|_, (first, end)| first < end);
    let mut assignment = TopicPartitionList::new();
    for partition in ends.keys() {
        assignment
            .add_partition_offset(topic, *partition, Offset::Beginning)
            .map_err(refused)?;
    }
    consumer.assign(&assignment).map_err(refused)?;
    let mut records = Vec::new();
    while !ends.is_empty() {
        if left().is_zero() {
            return Err(Error::NotReady {
                what: format!("the end of {topic}"),
                waited: limit,
                last: format!("{} records, unread partitions {:?}", records.len(), ends.keys()),
                log: String::new(),
            });
        }
        match consumer.poll(left().min(Duration::from_millis(100))) {
            None => {}
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let Some((_, end)) = ends.get(&partition).copied() else {
                    continue;
                };
                if offset < end {
                    records.push(stored(&message));
                }
                if offset + 1 >= end {
                    ends.remove(&partition);
                }
            }
            // What ends a partition need not be a record: the marker of a transaction has an offset too.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            // A broker that is away comes back or its partitions move; the time limit decides.
            Some(Err(error)) if transient(&error) => {}
            Some(Err(error)) => return Err(refused(error)),
        }
    }
    Ok(records)
}

fn consumer(bootstrap: &str, isolation: Isolation) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        // The library wants a name although a plain assignment joins no group.
        .set("group.id", "hafnium-testkit-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        .set("socket.timeout.ms", "5000")
        .set("api.version.request.timeout.ms", "2000")
        .set("reconnect.backoff.max.ms", "500")
        .set(
            "isolation.level",
            match isolation {
                Isolation::Uncommitted => "read_uncommitted",
                Isolation::Committed => "read_committed",
            },
        )
        .create()
}

/// First offset and end of each partition.
fn ends(
    consumer: &BaseConsumer,
    topic: &str,
    limit: Duration,
) -> Result<HashMap<i32, (i64, i64)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), limit)?;
    let mut ends = HashMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let watermarks = consumer.fetch_watermarks(topic, partition.id(), limit)?;
        ends.insert(partition.id(), watermarks);
    }
    Ok(ends)
}

fn transient(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut)
    )
}

fn stored(message: &rdkafka::message::BorrowedMessage<'_>) -> StoredRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    StoredRecord {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
