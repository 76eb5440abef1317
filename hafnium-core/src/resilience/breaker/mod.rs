//! Not calling what fails.
//!
//! [`Breaker`] is a handle on one pure state machine:
//!
//! * **closed** – calls pass; the last ones are counted in a [window](BreakerWindow). When at least
//!   `minimum_calls` are in it and the share of failures reaches `failure_rate` (or that of slow calls `slow_rate`), it
//!   opens;
//! * **open** – calls are refused with [`BreakerOpen`] for `open_for`;
//! * **half-open** – at most `probes` calls pass at a time. The first failure opens it again, `probes` successes close
//!   it. Probes that never end keep it half-open for `probe_timeout`, then it opens again.
//!
//! What counts is decided by whose fault an error is ([`Verdict::of`]). A call that is dropped before it ended gives
//! its place back and counts as nothing.

mod admission;
mod error;
mod figures;
mod handle;
mod layer;
mod machine;
mod settings;
mod verdict;
mod window;

pub use admission::Admission;
pub use error::BreakerOpen;
pub(super) use handle::WeakBreaker;
pub use handle::{Breaker, BreakerReport};
pub use layer::{BreakerFuture, BreakerLayer, BreakerService};
pub use machine::BreakerState;
pub use settings::{BreakerSettings, BreakerWindow};
pub use verdict::Verdict;
