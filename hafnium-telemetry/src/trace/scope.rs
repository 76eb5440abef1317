//! The context of a span, whichever layer keeps it.

use opentelemetry::Context;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::layer::TelemetryLayer;

/// What is handed on from within `span`. Empty where nothing traces it.
pub(super) fn scope(span: &Span) -> Context {
    let of_ids = span.with_subscriber(|(id, dispatch)| TelemetryLayer::context(dispatch, id));
    of_ids.flatten().unwrap_or_else(|| span.context())
}

/// Makes `parent` the parent of `span`, unless that was entered before.
pub(super) fn set_parent(span: &Span, parent: Context) {
    let mut parent = Some(parent);
    span.with_subscriber(|(id, dispatch)| TelemetryLayer::set_parent(dispatch, id, &mut parent));
    if let Some(parent) = parent {
        // Fails where the span was entered before, or no trace layer is there: then there is no parent to set.
        let _ = span.set_parent(parent);
    }
}
