//! Room in the producer's buffer, counted in records and bytes.
//!
//! librdkafka's own answer to a full queue is an error, upon which rdkafka's `FutureProducer` sleeps a flat 100 ms
//! (measured: 130 k records/s against 534 k/s). Here a record waits for credit that the delivery report of another
//! one returns, and the queue never fills.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Credits {
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    total_records: u32,
    total_bytes: u32,
}

/// The room of one record; returned when dropped.
pub(crate) struct Credit {
    _record: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Credits {
    pub(crate) fn new(records: u32, bytes: u64) -> Self {
        let total_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            records: Arc::new(Semaphore::new(records as usize)),
            bytes: Arc::new(Semaphore::new(total_bytes as usize)),
            total_records: records,
            total_bytes,
        }
    }

    /// Waits for room for one record of `bytes`, in order of arrival; `None` once closed. A record larger than the
    /// whole buffer waits until it is alone.
    ///
    /// Cancel-safe.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Credit> {
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total_bytes);
        let record = self.records.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(weight).await.ok()?;
        Some(Credit {
            _record: record,
            _bytes: bytes,
        })
    }

    /// Waits until no record is under way.
    ///
    /// Cancel-safe.
    pub(crate) async fn all_returned(&self) {
        // Fails only once closed, and then there is nothing to wait for.
        let _ = self.records.acquire_many(self.total_records).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn bytes_bound_as_well_as_records() {
        let credits = Credits::new(10, 100);
        let first = credits.take(60).await.unwrap();
        assert!(credits.take(60).now_or_never().is_none());
        let small = credits.take(40).now_or_never().flatten();
        assert!(small.is_some());
        drop(first);
        assert!(credits.take(60).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_record_larger_than_the_buffer_waits_until_it_is_alone() {
        let credits = Credits::new(10, 100);
        let small = credits.take(1).await.unwrap();
        assert!(credits.take(1000).now_or_never().is_none());
        drop(small);
        assert!(credits.take(1000).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn all_returned_waits_for_the_last_record() {
        let credits = Credits::new(10, 100);
        let one = credits.take(1).await.unwrap();
        assert!(credits.all_returned().now_or_never().is_none());
        drop(one);
        assert!(credits.all_returned().now_or_never().is_some());
    }
}
