//! Health checks: registered by components, run in the background, answered from memory.
//!
//! A [`Check`] is run by one scheduler ([`Registry::run`]) with a limit per run, jitter and hysteresis. What it found
//! is kept in memory, so that [`Registry::report`], and with it every probe, answers at once in any state of the
//! dependencies. A check that panics, hangs or blocks its thread has failed; it harms no other.

mod check;
mod heartbeat;
mod history;
mod hysteresis;
mod paths;
mod registry;
mod report;
mod runtime;
mod scheduler;
mod settings;

pub use check::{Check, Scope, Status};
pub use heartbeat::{Heartbeat, PulseReport};
pub use history::Change;
pub use hysteresis::Health;
pub use paths::ProbePaths;
pub use registry::{Registration, Registry};
pub use report::{CheckReport, Report};
pub use settings::HealthSettings;
