//! To which trace a line belongs.

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceFlags, TraceId};
use tracing::{Dispatch, span};

/// The trace and span a line belongs to. Not valid outside of spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) flags: TraceFlags,
}

impl Default for TraceContext {
    fn default() -> Self {
        Self {
            trace: TraceId::INVALID,
            span: SpanId::INVALID,
            flags: TraceFlags::NOT_SAMPLED,
        }
    }
}

impl TraceContext {
    /// The context of the span that is entered on this thread. It does not matter whether the log filter lets that
    /// span through: the trace layer activates the context of every span it sees.
    pub(crate) fn current() -> Self {
        Context::map_current(Self::of)
    }

    /// The context of the span `id`.
    pub(crate) fn of_span(id: &span::Id, dispatch: &Dispatch) -> Self {
        tracing_opentelemetry::get_otel_context(id, dispatch)
            .map(|context| Self::of(&context))
            .unwrap_or_default()
    }

    fn of(context: &Context) -> Self {
        if !context.has_active_span() {
            return Self::default();
        }
        let span = context.span();
        let of_span = span.span_context();
        Self {
            trace: of_span.trace_id(),
            span: of_span.span_id(),
            flags: of_span.trace_flags(),
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.trace != TraceId::INVALID && self.span != SpanId::INVALID
    }
}
