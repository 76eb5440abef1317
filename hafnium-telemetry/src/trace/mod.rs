//! Traces: how they are sampled, carried from process to process, and handed to the exporter.

mod propagation;
#[cfg(feature = "otlp")]
mod queue;
mod sampler;

pub(crate) use propagation::W3cPropagator;
#[cfg(feature = "otlp")]
pub(crate) use queue::SpanQueue;
pub(crate) use sampler::sampler;
