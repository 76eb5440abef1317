//! The refusal of an open breaker.

use std::sync::Arc;
use std::time::Duration;

use crate::classify::{Classify, Fault, Outcome};

/// The breaker is open, or half-open with all probes under way: nothing was called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the breaker \"{breaker}\" is open; it lets probes through in {retry_after:?}")]
#[non_exhaustive]
pub struct BreakerOpen {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// When it lets the next call through at the earliest. While probes are under way that is a guess of one second.
    pub retry_after: Duration,
}

/// Certainly not run, and worth another attempt later: over HTTP it is a 503 with `Retry-After`.
impl Classify for BreakerOpen {
    fn outcome(&self) -> Outcome {
        Outcome::NotRun
    }
    fn retryable(&self) -> bool {
        true
    }
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
    fn code(&self) -> &'static str {
        "breaker.open"
    }
    fn retry_after(&self) -> Option<Duration> {
        Some(self.retry_after)
    }
}
