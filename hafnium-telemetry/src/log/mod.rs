//! Log lines: one per event, with the fields of the current span, the trace it belongs to and who wrote it.
//!
//! A line is made on the caller's thread in a buffer that is kept, and written by a thread of its own ([`Output`]).

mod fields;
mod format;
mod human;
mod json;
mod output;
mod trace_context;

use std::cell::RefCell;
use std::sync::OnceLock;

use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use fields::{EventFields, SpanFields};
pub(crate) use format::Format;
pub(crate) use output::Output;
use trace_context::TraceContext;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// The buffers of one thread.
#[derive(Default)]
struct Scratch {
    event: EventFields,
    line: String,
}

/// The layer that writes log lines.
pub(crate) struct LogLayer {
    format: Format,
    output: Output,
    dispatch: OnceLock<WeakDispatch>,
}

impl LogLayer {
    pub(crate) fn new(format: Format, output: Output) -> Self {
        Self {
            format,
            output,
            dispatch: OnceLock::new(),
        }
    }

    fn write<S>(&self, scratch: &mut Scratch, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Scratch { event: fields, line } = scratch;
        fields.read(event, &self.format);
        line.clear();
        let trace = match event.parent() {
            Some(parent) => self
                .dispatch
                .get()
                .and_then(WeakDispatch::upgrade)
                .map(|dispatch| TraceContext::of_span(parent, &dispatch))
                .unwrap_or_default(),
            None if event.is_contextual() => TraceContext::current(),
            None => TraceContext::default(),
        };
        self.format.open(line, event.metadata(), fields);
        if let Some(span) = context.event_span(event)
            && let Some(of_span) = span.extensions().get::<SpanFields>()
        {
            of_span.append(line, fields);
        }
        self.format.close(line, &trace);
        self.output.write(line.as_bytes());
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer belongs to one dispatcher, so a second registration can't come.
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = SpanFields::of(attributes.fields().len());
        attributes.record(&mut fields.visitor(&self.format));
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<SpanFields>() {
            values.record(&mut fields.visitor(&self.format));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.write(&mut scratch, event, &context),
            // A value that logs or panics while it is being formatted gets here, within its own line.
            Err(_) => self.write(&mut Scratch::default(), event, &context),
        });
    }
}
