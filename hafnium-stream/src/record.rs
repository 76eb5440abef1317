//! What a handler is given.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

/// A record with its decoded value, as one attempt sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record<T> {
    /// The decoded value.
    pub value: T,
    /// The key; records of one key are handled in order.
    pub key: Option<Bytes>,
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was produced, or appended where the topic says so.
    pub timestamp: Option<SystemTime>,
    /// Its headers, in their order.
    pub headers: Headers,
    /// Which attempt this is, from 1. A record whose consumer died before its commit starts at 1 again.
    pub attempt: u32,
}

impl<T> Record<T> {
    /// The key as text, if it is UTF-8.
    pub fn key_str(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }
}

/// The headers of a record, in their order; names may repeat. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Arc<[(String, Bytes)]>);

impl Headers {
    /// The last value of `name`, as the Kafka clients define it.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_ref())
    }

    /// The last value of `name` as text, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Bytes)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, Bytes)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}
