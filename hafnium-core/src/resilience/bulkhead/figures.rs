//! What a bulkhead records, resolved once.

use super::error::BulkheadFull;
use crate::metrics::{Counter, Metrics, UpDown};

pub(super) struct Figures {
    pub(super) in_use: UpDown,
    pub(super) queued: UpDown,
    full: Counter,
    timeout: Counter,
}

impl Figures {
    pub(super) fn new(bulkhead: &str, metrics: &Metrics) -> Self {
        let labels = [("bulkhead", bulkhead)];
        let in_use = metrics.up_down("hafnium.bulkhead.in_use", "{call}", "Calls that run");
        let queued = metrics.up_down("hafnium.bulkhead.queued", "{call}", "Calls that wait for a place");
        let rejected = metrics.counter(
            "hafnium.bulkhead.rejected",
            "{call}",
            "Calls that got no place, by why",
        );
        let reason = |reason| rejected.with(&[("bulkhead", bulkhead), ("reason", reason)]);
        Self {
            in_use: in_use.with(&labels),
            queued: queued.with(&labels),
            full: reason("full"),
            timeout: reason("queue_timeout"),
        }
    }

    pub(super) fn rejected(&self, why: &BulkheadFull) {
        match why {
            BulkheadFull::Queue { .. } => self.full.add(1),
            BulkheadFull::Timeout { .. } => self.timeout.add(1),
        }
    }
}
