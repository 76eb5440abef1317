//! W3C trace context and baggage, in and out of the headers of HTTP and Kafka.

use hafnium_core::propagation::Propagator;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{Extractor, Injector, TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use tracing::Span;

use super::scope::{scope, set_parent};
use crate::environment::Propagators;

/// The headers that are read.
const HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Reads and writes the context of spans.
#[derive(Debug)]
pub(crate) struct W3cPropagator(TextMapCompositePropagator);

impl W3cPropagator {
    pub(crate) fn new(wanted: Propagators) -> Self {
        let mut parts: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
        if wanted.trace_context {
            parts.push(Box::new(TraceContextPropagator::new()));
        }
        if wanted.baggage {
            parts.push(Box::new(BaggagePropagator::new()));
        }
        Self(TextMapCompositePropagator::new(parts))
    }
}

impl Propagator for W3cPropagator {
    fn inject(&self, span: &Span, set: &mut dyn FnMut(&str, String)) {
        self.0.inject_context(&scope(span), &mut Headers(set));
    }

    fn extract(&self, span: &Span, get: &dyn Fn(&str) -> Option<String>) {
        if span.is_disabled() {
            return;
        }
        let found = Found(HEADERS.map(get));
        if found.0.iter().all(Option::is_none) {
            return;
        }
        let context = self.0.extract_with_context(&Context::new(), &found);
        // A header that can't be read must not take a span out of the trace it is in already.
        if context.span().span_context().is_valid() || !context.baggage().is_empty() {
            set_parent(span, context);
        }
    }
}

struct Headers<'a>(&'a mut dyn FnMut(&str, String));

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing and is better not sent.
        if !value.is_empty() {
            (self.0)(key, value);
        }
    }
}

struct Found([Option<String>; HEADERS.len()]);

impl Extractor for Found {
    fn get(&self, key: &str) -> Option<&str> {
        let at = HEADERS.iter().position(|name| name.eq_ignore_ascii_case(key))?;
        self.0[at].as_deref()
    }

    fn keys(&self) -> Vec<&str> {
        HEADERS
            .iter()
            .zip(&self.0)
            .filter_map(|(name, value)| value.is_some().then_some(*name))
            .collect()
    }
}
