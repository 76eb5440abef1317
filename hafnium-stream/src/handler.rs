//! What a team writes: a handler, and how bytes become its value.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::record::Record;

/// Handles the records of a consumer. An `async` function or closure over [`Record`] is one too.
///
/// `Ok` means done: the offset may pass the record. A record may come again (after a crash, or after a rebalance that
/// could not wait), so its effect should be keyed by something in it.
///
/// The future is dropped at its next await when it exceeds the consumer's `handler_timeout` or the record's own deadline
/// (see [`ConsumerSpec::past_deadline`](crate::ConsumerSpec::past_deadline)), when its partition is
/// taken away and can't wait longer, and when the service ends; [`Deadline::current`](hafnium_core::Deadline::current)
/// is the attempt's limit for every client used inside. A panic counts as a failure to be retried.
///
/// ```
/// use hafnium_stream::{Failure, Handler, Record};
///
/// #[derive(serde::Deserialize)]
/// struct Payment { amount: u64 }
/// struct Scores;
///
/// impl Handler<Payment> for Scores {
///     async fn handle(&self, record: Record<Payment>) -> Result<(), Failure> {
///         if record.value.amount == 0 {
///             return Err(Failure::dead_letter("a payment of nothing"));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Handler<T>: Send + Sync + 'static {
    /// Handles one record.
    fn handle(&self, record: Record<T>) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<T, F, Fut> Handler<T> for F
where
    F: Fn(Record<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    fn handle(&self, record: Record<T>) -> impl Future<Output = Result<(), Failure>> + Send {
        self(record)
    }
}

/// Makes the value of a record from its bytes. What it refuses goes to the dead-letter topic at once, with the
/// original bytes.
pub trait Decode<T>: Send + Sync + 'static {
    /// Why bytes were refused.
    type Error: std::fmt::Display;
    /// Decodes the payload; `None` is a record without one (a tombstone).
    ///
    /// # Errors
    /// When the bytes are not a value; trying again would not help.
    fn decode(&self, payload: Option<&Bytes>) -> Result<T, Self::Error>;
}

/// JSON; a record without a payload reads as `null`, so that an `Option` takes tombstones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: DeserializeOwned> Decode<T> for Json {
    type Error = serde_json::Error;
    fn decode(&self, payload: Option<&Bytes>) -> Result<T, Self::Error> {
        serde_json::from_slice(payload.map_or(b"null", |payload| payload))
    }
}

/// The bytes themselves; a record without a payload has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Decode<Bytes> for Raw {
    type Error = Infallible;
    fn decode(&self, payload: Option<&Bytes>) -> Result<Bytes, Infallible> {
        Ok(payload.cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_reads_as_null() {
        let value: Option<u32> = Json.decode(None).unwrap();
        assert_eq!(value, None);
        let refused: Result<u32, _> = Json.decode(None);
        assert!(refused.is_err());
    }
}
