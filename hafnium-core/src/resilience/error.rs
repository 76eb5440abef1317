//! What a guarded call can end with.

use std::time::Duration;

use super::breaker::BreakerOpen;
use super::bulkhead::BulkheadFull;
use crate::classify::{Classify, Fault, Outcome};

/// Why a guarded call did not succeed: it was not let through, or it failed by itself. The source says more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The breaker is open: nothing was called.
    #[error("the call was not made")]
    Open(#[from] BreakerOpen),
    /// The bulkhead had no room: nothing was called.
    #[error("the call was not made")]
    Full(#[from] BulkheadFull),
    /// The call's own error.
    #[error("the call failed")]
    Failed(#[source] E),
}

impl<E> CallError<E> {
    /// The call's own error, if it was called.
    pub fn into_failed(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Open(_) | Self::Full(_) => None,
        }
    }
}

impl<E> CallError<CallError<E>> {
    /// One level instead of two, for a breaker within a bulkhead.
    pub fn flatten(self) -> CallError<E> {
        match self {
            Self::Open(open) => CallError::Open(open),
            Self::Full(full) => CallError::Full(full),
            Self::Failed(inner) => inner,
        }
    }
}

impl<E: Classify> CallError<E> {
    fn classified(&self) -> &dyn Classify {
        match self {
            Self::Open(open) => open,
            Self::Full(full) => full,
            Self::Failed(error) => error,
        }
    }
}

/// As the one that speaks: the breaker, the bulkhead, or the call's own error.
impl<E: Classify> Classify for CallError<E> {
    fn outcome(&self) -> Outcome {
        self.classified().outcome()
    }
    fn retryable(&self) -> bool {
        self.classified().retryable()
    }
    fn fault(&self) -> Fault {
        self.classified().fault()
    }
    fn code(&self) -> &'static str {
        self.classified().code()
    }
    fn retry_after(&self) -> Option<Duration> {
        self.classified().retry_after()
    }
}
