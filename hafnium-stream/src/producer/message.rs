//! What is sent, and where it went.

use std::time::SystemTime;

use bytes::Bytes;
use hafnium_core::Deadline;
use hafnium_core::deadline::wire;
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
    carries_deadline: bool,
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
            carries_deadline: false,
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

    /// Sends the deadline of the task along ([`Deadline::current`]), as the header `deadline-unix-ms`; nothing where
    /// none is in force. The consumer's handler then runs under it.
    ///
    /// Not done by default: a record may be read hours later, and most stay true. It is for those that are only worth
    /// handling while someone waits for the answer.
    pub fn deadline(mut self) -> Self {
        self.carries_deadline = true;
        self
    }

    /// Writes the header, if the message carries the deadline and `current` is one.
    pub(crate) fn stamp(&mut self, current: Option<Deadline>, now: SystemTime) {
        if let Some(deadline) = current.filter(|_| self.carries_deadline) {
            let at = wire::unix_millis(deadline.remaining(), now);
            self.headers.retain(|(name, _)| name != wire::DEADLINE_UNIX_MS);
            self.headers
                .push((wire::DEADLINE_UNIX_MS.to_owned(), at.to_string().into()));
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamped(message: Message, current: Option<Deadline>) -> Vec<(String, Bytes)> {
        let mut message = message;
        message.stamp(current, SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        message.headers
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_in_force_is_sent_along_only_where_the_message_carries_it() {
        let soon = Some(Deadline::after(Duration::from_millis(2500)));
        let header = |value: &'static str| vec![("deadline-unix-ms".to_owned(), Bytes::from(value))];
        assert_eq!(stamped(Message::to("t"), soon), []);
        assert_eq!(stamped(Message::to("t").deadline(), None), []);
        assert_eq!(stamped(Message::to("t").deadline(), soon), header("102500"));
        let forwarded = Message::to("t").header("deadline-unix-ms", "900000").deadline();
        assert_eq!(
            stamped(forwarded, soon),
            header("102500"),
            "one deadline, the present one"
        );
    }
}
