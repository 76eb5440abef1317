//! The refusal of a full bulkhead.

use std::sync::Arc;
use std::time::Duration;

use crate::classify::{Classify, Fault, Outcome};

/// The bulkhead had no place: nothing was called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkheadFull {
    /// As many calls as may wait did so already.
    #[error("the bulkhead \"{bulkhead}\" is full, and so is its queue")]
    Queue {
        /// The bulkhead's name.
        bulkhead: Arc<str>,
    },
    /// No place became free in time.
    #[error("the bulkhead \"{bulkhead}\" had no place within {waited:?}")]
    Timeout {
        /// The bulkhead's name.
        bulkhead: Arc<str>,
        /// How long the call waited.
        waited: Duration,
    },
}

/// Certainly not run, and worth another attempt later: over HTTP it is a 503 with `Retry-After`.
impl Classify for BulkheadFull {
    fn outcome(&self) -> Outcome {
        Outcome::NotRun
    }
    fn retryable(&self) -> bool {
        true
    }
    fn fault(&self) -> Fault {
        Fault::Capacity
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Queue { .. } => "bulkhead.full",
            Self::Timeout { .. } => "bulkhead.queue_timeout",
        }
    }
}
