//! What is sent, and where it went.

use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;

/// A record to send.
///
/// ```
/// # fn main() -> Result<(), serde_json::Error> {
/// use hafnium_stream::Message;
///
/// let message = Message::to("risk-scores").key("payment-7").json(&42)?.header("source", "test");
/// assert_eq!(message.topic(), "risk-scores");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a message does nothing until it is sent"]
pub struct Message {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) headers: Vec<(String, Bytes)>,
}

impl Message {
    /// A record for `topic`; without a payload it is a tombstone.
    pub fn to(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            payload: None,
            timestamp: None,
            headers: Vec::new(),
        }
    }

    /// The key: records of one key keep their order and share a partition, the same one that Java clients choose.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// The value's bytes.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// `value` as JSON, with the header `content-type`.
    ///
    /// # Errors
    /// When `value` has no JSON form, such as a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, serde_json::Error> {
        let payload = serde_json::to_vec(value)?;
        Ok(self.payload(payload).header("content-type", "application/json"))
    }

    /// Adds a header; names may repeat. Trace context is added when sending.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.into(), Bytes::copy_from_slice(value.as_ref())));
        self
    }

    /// A fixed partition instead of the one that the key chooses.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// When it happened; default is the time of sending.
    pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Where it goes.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What it takes of the producer's buffer, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        let body = self.key.as_ref().map_or(0, Bytes::len) + self.payload.as_ref().map_or(0, Bytes::len);
        body + headers.sum::<usize>()
    }
}

/// Where an acknowledged record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Delivery {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}
