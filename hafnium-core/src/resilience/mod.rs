//! Calls to what may fail: repeated where that can do no harm, given up where it is in vain, limited in number.
//!
//! * [`RetryPolicy`] repeats by [`Classify`](crate::Classify): only what certainly did not happen, or what the caller
//!   declared idempotent; with full jitter, within the deadline, and within a [`RetryBudget`] that all callers of one
//!   dependency share.
//! * [`Breaker`] stops calling a dependency that fails, and lets a few probes through after a while.
//! * [`Bulkhead`] limits how many calls run at once and how many wait for how long.
//!
//! Each is a handle: clones share one state. Each is used as a plain async function ([`RetryPolicy::run`],
//! [`Breaker::call`], [`Bulkhead::run`]) or as a tower layer (`layer()`), and both forms of one handle share its state.
//! From the outside in the order is: bulkhead, retry, breaker, the deadline of one attempt, the call.
//!
//! ```
//! use std::time::Duration;
//! use hafnium_core::{Classify, Deadline, DeadlineExceeded};
//! use hafnium_core::resilience::{Breaker, BreakerSettings, CallError, RetryPolicy, RetrySettings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! async fn score(payment: u64) -> Result<u64, DeadlineExceeded> {
//!     Deadline::nearest(Duration::from_millis(200)).bound("the score", async { payment * 2 }).await
//! }
//!
//! let retry = RetryPolicy::new("scoring", &RetrySettings::default());
//! let breaker = Breaker::new("scoring", &BreakerSettings::default());
//! let scored = retry.run(|| breaker.call(score(21))).await;
//! assert!(matches!(scored, Ok(42)));
//! # }
//! ```

mod backoff;
pub mod breaker;
mod bucket;
mod budget;
pub mod bulkhead;
mod error;
mod registry;
pub mod retry;

pub use backoff::full_jitter;
pub use breaker::{Breaker, BreakerOpen, BreakerSettings, BreakerState, Verdict};
pub use budget::{RetryBudget, RetryBudgetSettings};
pub use bulkhead::{Bulkhead, BulkheadFull, BulkheadSettings};
pub use error::CallError;
pub use registry::Breakers;
pub use retry::{RetryPolicy, RetrySettings};

/// Its examples are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/resilience.md")]
mod guide {}
