//! To which trace a line belongs.

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceFlags, TraceId};
use tracing::{Dispatch, span};

/// The trace and span a line belongs to. Not valid outside of spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceContext {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: TraceFlags,
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

    /// The context of the span `id`, which the layer of OpenTelemetry traces.
    pub(crate) fn of_exported(id: &span::Id, dispatch: &Dispatch) -> Self {
        tracing_opentelemetry::get_otel_context(id, dispatch)
            .map(|context| Self::of(&context))
            .unwrap_or_default()
    }

    pub(crate) fn of(context: &Context) -> Self {
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

    pub(super) fn is_valid(&self) -> bool {
        self.trace != TraceId::INVALID && self.span != SpanId::INVALID
    }
}
