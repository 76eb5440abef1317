//! Places in a bulkhead and in its queue, given back on drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::handle::Shared;

/// A place among the calls that run. Dropping it gives the place to the one that has waited longest.
#[must_use = "dropped, the place is free again"]
pub struct BulkheadPermit {
    shared: Arc<Shared>,
    place: Option<OwnedSemaphorePermit>,
}

impl BulkheadPermit {
    pub(super) fn new(shared: Arc<Shared>, place: OwnedSemaphorePermit) -> Self {
        shared.figures.in_use.add(1);
        Self {
            shared,
            place: Some(place),
        }
    }
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.shared.figures.in_use.add(-1);
        if let Some(place) = self.place.take() {
            self.shared.give_back(place);
        }
    }
}

impl std::fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkheadPermit")
            .field("bulkhead", &self.shared.name)
            .finish()
    }
}

/// A place in the queue.
pub(super) struct Queued {
    shared: Arc<Shared>,
}

impl Queued {
    /// Takes a place in the queue unless `most` wait already.
    pub(super) fn enter(shared: Arc<Shared>, most: u32) -> Option<Self> {
        let free = |waiting| (waiting < most).then_some(waiting + 1);
        shared
            .queued
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .ok()?;
        shared.figures.queued.add(1);
        Some(Self { shared })
    }

    pub(super) fn count(queued: &AtomicU32) -> u32 {
        queued.load(Ordering::Acquire)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.shared.queued.fetch_sub(1, Ordering::AcqRel);
        self.shared.figures.queued.add(-1);
    }
}
