//! Traces: how they are sampled, carried from process to process, and handed to the exporter.

mod ids;
mod propagation;
#[cfg(feature = "otlp")]
mod queue;
mod sampler;
mod scope;

pub(crate) use ids::{Ids, Traced, enter, exit};
pub(crate) use propagation::W3cPropagator;
#[cfg(feature = "otlp")]
pub(crate) use queue::SpanQueue;
pub(crate) use sampler::sampler;
