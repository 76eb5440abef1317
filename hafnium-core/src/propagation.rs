//! How trace context crosses process borders, without this crate knowing a tracing SDK.

use std::sync::Arc;

use tracing::Span;

/// Reads and writes trace context for the carriers of a process (HTTP and Kafka headers).
///
/// Implemented by the telemetry installer; header names are lower case.
pub trait Propagator: Send + Sync + 'static {
    /// Calls `set` with each header that carries the context of `span`.
    fn inject(&self, span: &Span, set: &mut dyn FnMut(&str, String));
    /// Makes the context found by `get` the parent of `span`.
    fn extract(&self, span: &Span, get: &dyn Fn(&str) -> Option<String>);
}

/// The propagator of a service, or none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Propagation(Option<Arc<dyn Propagator>>);

impl Propagation {
    /// Propagation through `propagator`.
    pub fn new(propagator: impl Propagator) -> Self {
        Self(Some(Arc::new(propagator)))
    }

    /// No propagation: nothing is written and nothing is read.
    pub fn none() -> Self {
        Self(None)
    }

    /// Calls `set` with each header that carries the context of `span`.
    pub fn inject(&self, span: &Span, mut set: impl FnMut(&str, String)) {
        if let Some(propagator) = &self.0 {
            propagator.inject(span, &mut set);
        }
    }

    /// Makes the context found by `get` the parent of `span`.
    pub fn extract(&self, span: &Span, get: impl Fn(&str) -> Option<String>) {
        if let Some(propagator) = &self.0 {
            propagator.extract(span, &get);
        }
    }
}
