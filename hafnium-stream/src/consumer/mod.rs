//! Reading: per-key order, bounded, committed after handling.
//!
//! How a record flows: the polling thread takes it from librdkafka and notes it in its partition's tracker → its lane
//! (one per live key) → a permit → the handler → done, retried, dead-lettered → back to the thread, which commits the
//! end of the contiguous done prefix.

mod component;
mod dead_letter;
mod figures;
mod lane;
mod lease;
mod partition;
mod phase;
mod poll;
mod pressure;
mod process;
mod rebalance;
mod spec;
mod state;
mod tracker;
mod wanted;
mod work;

pub use component::Consumer;
pub use spec::{ConsumerSpec, MissingTopic, Order, PastDeadline, SpecError, StartAt};
