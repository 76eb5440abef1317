//! Health checks: registered by components, run in the background, answered from memory.

mod check;
mod registry;

pub use check::{Check, Scope, Status};
pub use registry::{Registration, Registry};
