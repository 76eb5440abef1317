//! The life of a service: Starting → Ready → Draining → Stopping → Stopped.
//!
//! [`start()`] brings the components up, [`stop()`] takes everything down within a [`Budget`] and says how it went.

mod budget;
mod overdue;
mod record;
mod signals;
mod start;
mod state;
mod stop;
mod verdict;

pub use budget::{Budget, BudgetError, LoadBalancer, ShutdownSettings};
pub use overdue::overdue;
pub use record::record;
pub use signals::{Hangups, Signal, Signals};
pub use start::{Progress, StartFailure, StartSettings, Waiting, start};
pub use state::{Lifecycle, State, Watch};
pub use stop::{Flush, Plan, stop};
pub use verdict::{Phase, Verdict};
