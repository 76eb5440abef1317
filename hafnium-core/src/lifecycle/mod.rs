//! The life of a service: Starting → Ready → Draining → Stopping → Stopped.

mod state;

pub use state::{Lifecycle, State, Watch};
