//! Log lines: one per event, with the fields of the current span, the trace it belongs to and who wrote it.
//!
//! A line is made on the caller's thread in a buffer that is kept, and written by a thread of its own ([`Output`]).

mod fields;
mod format;
mod human;
mod json;
mod keys;
mod number;
mod output;
mod timestamp;
mod trace_context;

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Record};
use tracing::{Event, Metadata};

use fields::EventFields;
pub(crate) use fields::SpanFields;
pub(crate) use format::Format;
use keys::keys;
pub(crate) use output::Output;
pub(crate) use trace_context::TraceContext;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// The buffers of one thread.
#[derive(Default)]
struct Scratch {
    event: EventFields,
    line: String,
}

/// Where log lines are made.
pub(crate) struct Lines {
    format: Format,
    /// Each has another: what threads remember is of one format.
    number: usize,
    output: Output,
}

/// A line that has the fields of its event already.
pub(crate) struct Line<'a> {
    text: &'a mut String,
    event: &'a EventFields,
}

impl Line<'_> {
    /// Appends the fields of the event's span, without those that the event itself has.
    pub(crate) fn append(&mut self, span: &SpanFields) {
        span.append(self.text, self.event);
    }
}

impl Lines {
    pub(crate) fn new(format: Format, output: Output) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Self {
            format,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            output,
        }
    }

    /// The fields of a new span.
    pub(crate) fn fields(&self, attributes: &Attributes<'_>) -> SpanFields {
        let mut fields = SpanFields::of(attributes.fields().len());
        let keys = keys(attributes.metadata(), &self.format, self.number);
        attributes.record(&mut fields.visitor(&keys, &self.format));
        fields
    }

    /// Adds what was recorded of a span.
    pub(crate) fn record(&self, fields: &mut SpanFields, values: &Record<'_>, span: &Metadata<'_>) {
        let keys = keys(span, &self.format, self.number);
        values.record(&mut fields.visitor(&keys, &self.format));
    }

    /// Writes the line of `event`; `of_span` adds the fields of its span.
    pub(crate) fn write(&self, event: &Event<'_>, trace: &TraceContext, of_span: impl FnOnce(&mut Line<'_>)) {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.write_in(&mut scratch, event, trace, of_span),
            // A value that logs or panics while it is being formatted gets here, within its own line.
            Err(_) => self.write_in(&mut Scratch::default(), event, trace, of_span),
        });
    }

    fn write_in(
        &self,
        scratch: &mut Scratch,
        event: &Event<'_>,
        trace: &TraceContext,
        of_span: impl FnOnce(&mut Line<'_>),
    ) {
        let Scratch { event: fields, line } = scratch;
        let keys = keys(event.metadata(), &self.format, self.number);
        fields.read(event, &keys, &self.format);
        line.clear();
        self.format.open(line, event.metadata(), fields);
        of_span(&mut Line {
            text: line,
            event: fields,
        });
        self.format.close(line, trace);
        self.output.write(line.as_bytes());
    }
}
