//! The layer of the process's subscriber: a span or an event comes here once, whether it is logged, traced or both.
//!
//! It asks the log filter itself. As two layers with a filter each, as tracing-subscriber combines them, each step of a
//! span's life is looked up once per layer, which takes longer than what the layers do.

use std::cmp;
use std::sync::OnceLock;

use opentelemetry::Context as TraceScope;
use tracing::dispatcher::WeakDispatch;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use tracing_subscriber::{Layer, Registry};

use crate::filter::Replaceable;
use crate::log::{Lines, SpanFields, TraceContext};
use crate::trace::{Ids, Traced, enter, exit};

/// The levels whose spans are traced.
pub(crate) const TRACED: LevelFilter = LevelFilter::INFO;

/// Spans are traced from INFO up, whatever is logged. Events stay log lines, which carry the trace id: as events of
/// spans they would be paid for twice, and an ERROR line would mark the span of a good answer as failed.
pub(crate) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= TRACED
}

/// Writes log lines, and gives spans their ids where nobody else does.
pub(crate) struct TelemetryLayer {
    filter: Replaceable,
    lines: Lines,
    /// Where no collector gets the spans; else they are those of the layer of OpenTelemetry.
    ids: Option<Ids>,
    dispatch: OnceLock<WeakDispatch>,
}

/// What a span has in its extensions.
struct Recorded {
    /// Where the log filter lets it through.
    fields: Option<SpanFields>,
    traced: Option<Traced>,
}

impl TelemetryLayer {
    pub(crate) fn new(filter: Replaceable, lines: Lines, ids: Option<Ids>) -> Self {
        Self {
            filter,
            lines,
            ids,
            dispatch: OnceLock::new(),
        }
    }

    /// Makes `parent` the parent of the span `id`, where that gets its ids here; else leaves it.
    pub(crate) fn set_parent(dispatch: &Dispatch, id: &Id, parent: &mut Option<TraceScope>) {
        Self::with_traced(dispatch, id, |_, traced, _| {
            if let Some(parent) = parent.take() {
                traced.set_parent(parent);
            }
        });
    }

    /// The context of the span `id`, where that gets its ids here.
    pub(crate) fn context(dispatch: &Dispatch, id: &Id) -> Option<TraceScope> {
        Self::with_traced(dispatch, id, |ids, traced, name| ids.context(traced, name))
    }

    fn with_traced<T>(
        dispatch: &Dispatch,
        id: &Id,
        work: impl FnOnce(&Ids, &mut Traced, &str) -> T,
    ) -> Option<T> {
        let ids = dispatch.downcast_ref::<Self>()?.ids.as_ref()?;
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        let traced = extensions.get_mut::<Recorded>()?.traced.as_mut()?;
        Some(work(ids, traced, span.metadata().name()))
    }

    /// What a new span is in, unless its parent is named later.
    fn parent<S>(&self, ids: &Ids, attributes: &Attributes<'_>, context: &Context<'_, S>) -> TraceScope
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        match attributes.parent() {
            Some(parent) => scope_of(ids, parent, context).unwrap_or_default(),
            None if attributes.is_contextual() => TraceScope::current(),
            None => TraceScope::default(),
        }
    }

    /// The trace that an event belongs to.
    fn trace<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> TraceContext
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        match (event.parent(), &self.ids) {
            (Some(parent), Some(ids)) => scope_of(ids, parent, context)
                .map(|scope| TraceContext::of(&scope))
                .unwrap_or_default(),
            (Some(parent), None) => self
                .dispatch
                .get()
                .and_then(WeakDispatch::upgrade)
                .map(|dispatch| TraceContext::of_exported(parent, &dispatch))
                .unwrap_or_default(),
            (None, _) if event.is_contextual() => TraceContext::current(),
            (None, _) => TraceContext::default(),
        }
    }

    /// Tells the filter of something that happened to a span which it lets through, if it cares.
    fn tell<S>(&self, id: &Id, context: &Context<'_, S>, tell: impl FnOnce(&Replaceable))
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if self.filter.is_by_span() && context.span(id).is_some_and(|span| is_logged(&span)) {
            tell(&self.filter);
        }
    }
}

/// The context of the span `id`, if it is traced.
fn scope_of<S>(ids: &Ids, id: &Id, context: &Context<'_, S>) -> Option<TraceScope>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let span = context.span(id)?;
    let mut extensions = span.extensions_mut();
    let traced = extensions.get_mut::<Recorded>()?.traced.as_mut()?;
    Some(ids.context(traced, span.metadata().name()))
}

fn is_logged<S>(span: &SpanRef<'_, S>) -> bool
where
    S: for<'a> LookupSpan<'a>,
{
    let extensions = span.extensions();
    let recorded = extensions.get::<Recorded>();
    recorded.is_some_and(|recorded| recorded.fields.is_some())
}

/// The span whose fields an event's line has: the innermost that the log filter lets through.
fn span_of_line<'a, S>(event: &Event<'_>, context: &'a Context<'_, S>) -> Option<SpanRef<'a, S>>
where
    S: Subscriber + for<'b> LookupSpan<'b>,
{
    let span = context.event_span(event)?;
    if is_logged(&span) {
        return Some(span);
    }
    // A parent that is named is the only one that is looked at.
    event.is_contextual().then(|| span.scope().find(is_logged))?
}

impl<S> Layer<S> for TelemetryLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer belongs to one dispatcher, so a second registration can't come.
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked in any case: the filter takes note of callsites.
        let logged = self.filter.callsite_enabled::<S>(metadata);
        match is_traced(metadata) {
            true => Interest::always(),
            false => logged,
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_traced(metadata) || self.filter.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter
            .max_level_hint()
            .map(|logged| cmp::max(logged, TRACED))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let logged = self.filter.enabled(metadata, context.clone());
        let fields = logged.then(|| self.lines.fields(attributes));
        let traced = self.ids.as_ref().filter(|_| is_traced(metadata));
        let traced = traced.map(|ids| Traced::Planned {
            parent: self.parent(ids, attributes, &context),
        });
        if (logged || traced.is_some())
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Recorded { fields, traced });
        }
        if logged && self.filter.is_by_span() {
            self.filter.on_new_span(attributes, id, context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let recorded = extensions.get_mut::<Recorded>();
        let Some(fields) = recorded.and_then(|recorded| recorded.fields.as_mut()) else {
            return;
        };
        self.lines.record(fields, values, span.metadata());
        drop(extensions);
        if self.filter.is_by_span() {
            self.filter.on_record(id, values, context.clone());
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(ids) = &self.ids
            && let Some(scope) = scope_of(ids, id, &context)
        {
            enter(id, scope);
        }
        self.tell(id, &context, |filter| filter.on_enter(id, context.clone()));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.tell(id, &context, |filter| filter.on_exit(id, context.clone()));
        if self.ids.is_some() {
            exit(id);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.tell(&id, &context, |filter| {
            filter.on_close(id.clone(), context.clone())
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let trace = self.trace(event, &context);
        self.lines.write(event, &trace, |line| {
            let span = span_of_line(event, &context);
            if let Some(span) = &span
                && let Some(recorded) = span.extensions().get::<Recorded>()
                && let Some(fields) = &recorded.fields
            {
                line.append(fields);
            }
        });
    }
}
