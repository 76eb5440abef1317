//! The fields of events and spans, encoded once as they are recorded.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::format::Format;
use super::keys::{Key, Keys};
use super::number::{write_float, write_unsigned};
use crate::redaction::REDACTED;

/// The value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Str(&'a str),
    Text(&'a dyn Debug),
    Error(&'a (dyn Error + 'static)),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl Value<'_> {
    /// The value as plain text.
    pub(super) fn write_text(self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Str(text) => out.write_str(text),
            Self::Text(value) => write!(out, "{value:?}"),
            Self::Error(error) => {
                write!(out, "{error}")?;
                let mut source = error.source();
                while let Some(error) = source {
                    write!(out, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            Self::Signed(value) => write!(out, "{value}"),
            Self::Unsigned(value) => write_unsigned(out, value),
            Self::Float(value) => write_float(out, value),
            Self::Bool(value) => write!(out, "{value}"),
        }
    }
}

/// Takes the fields of one record, in their order.
trait Sink {
    /// `key` is the name as lines have it.
    fn take(&mut self, name: &'static str, key: &str, value: Value<'_>);

    /// The field of that name.
    fn message(&mut self, key: &str, value: Value<'_>);
}

/// Hands fields to a sink: without those that only direct the trace layer, and without secrets.
struct Visitor<'a, T> {
    keys: &'a Keys,
    sink: T,
}

impl<T: Sink> Visitor<'_, T> {
    fn take(&mut self, field: &Field, value: Value<'_>) {
        match self.keys.get(field) {
            Key::Left => {}
            Key::Message(key) => self.sink.message(key, value),
            Key::Shown(key) => self.sink.take(field.name(), key, value),
            Key::Secret(key) => self.sink.take(field.name(), key, Value::Str(REDACTED)),
        }
    }
}

impl<T: Sink> Visit for Visitor<'_, T> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Str(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, Value::Text(value));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.take(field, Value::Error(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Signed(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Unsigned(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Float(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Bool(value));
    }
}

/// The fields of an event: its message as plain text, the others encoded.
#[derive(Default)]
pub(super) struct EventFields {
    pub(super) message: String,
    pub(super) encoded: String,
    names: Vec<&'static str>,
}

impl EventFields {
    /// Reads the fields of `event`, instead of those that were read before.
    pub(super) fn read(&mut self, event: &Event<'_>, keys: &Keys, format: &Format) {
        self.message.clear();
        self.encoded.clear();
        self.names.clear();
        let sink = OfEvent { fields: self, format };
        event.record(&mut Visitor { keys, sink });
    }
}

struct OfEvent<'a> {
    fields: &'a mut EventFields,
    format: &'a Format,
}

impl Sink for OfEvent<'_> {
    fn take(&mut self, name: &'static str, key: &str, value: Value<'_>) {
        self.fields.encoded.push_str(key);
        self.format.value(&mut self.fields.encoded, value);
        self.fields.names.push(name);
    }

    fn message(&mut self, _: &str, value: Value<'_>) {
        // Writing to a String fails only if the value's own formatting does; what it wrote is kept.
        let _ = value.write_text(&mut self.fields.message);
    }
}

/// The fields of a span, each encoded; the last value recorded under a name counts.
#[derive(Debug, Default)]
pub(crate) struct SpanFields {
    text: String,
    parts: Vec<Part>,
}

/// Where the field `name` ends in the text; it begins where the one before it ends.
#[derive(Debug)]
struct Part {
    name: &'static str,
    end: usize,
}

impl SpanFields {
    /// Room for the usual ones of so many fields, so that recording them takes memory once.
    pub(crate) fn of(fields: usize) -> Self {
        Self {
            text: String::with_capacity(32 * fields),
            parts: Vec::with_capacity(fields),
        }
    }

    /// Takes fields of a callsite that has `keys`.
    pub(super) fn visitor<'a>(&'a mut self, keys: &'a Keys, format: &'a Format) -> impl Visit + 'a {
        let sink = OfSpan { fields: self, format };
        Visitor { keys, sink }
    }

    /// Appends the fields that the event itself has not.
    pub(super) fn append(&self, line: &mut String, event: &EventFields) {
        let mut begin = 0;
        for part in &self.parts {
            if !event.names.contains(&part.name) {
                line.push_str(self.text.get(begin..part.end).unwrap_or_default());
            }
            begin = part.end;
        }
    }

    /// Removes the field `name`, if it is there.
    fn forget(&mut self, name: &str) {
        let Some(at) = self.parts.iter().position(|part| part.name == name) else {
            return;
        };
        let end = self.parts.remove(at).end;
        let begin = at.checked_sub(1).and_then(|before| self.parts.get(before));
        let begin = begin.map_or(0, |part| part.end);
        self.text.replace_range(begin..end, "");
        for part in self.parts.iter_mut().skip(at) {
            part.end -= end - begin;
        }
    }
}

struct OfSpan<'a> {
    fields: &'a mut SpanFields,
    format: &'a Format,
}

impl Sink for OfSpan<'_> {
    fn take(&mut self, name: &'static str, key: &str, value: Value<'_>) {
        self.fields.forget(name);
        // A value that panicked while it was formatted has left its beginning.
        let begin = self.fields.parts.last().map_or(0, |part| part.end);
        self.fields.text.truncate(begin);
        self.fields.text.push_str(key);
        self.format.value(&mut self.fields.text, value);
        let end = self.fields.text.len();
        self.fields.parts.push(Part { name, end });
    }

    fn message(&mut self, key: &str, value: Value<'_>) {
        self.take("message", key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &SpanFields) -> String {
        let mut line = String::new();
        fields.append(&mut line, &EventFields::default());
        line
    }

    #[test]
    fn a_field_that_is_recorded_again_takes_no_more_room_and_others_stay() {
        let format = Format::human(false);
        let mut fields = SpanFields::of(1);
        let mut record = |name, value| {
            let mut sink = OfSpan {
                fields: &mut fields,
                format: &format,
            };
            sink.take(name, name, Value::Unsigned(value));
        };
        record("first", 1);
        record("second", 2);
        record("third", 3);
        for progress in 10..1000 {
            record("first", progress % 90 + 10);
            record("second", progress % 90 + 10);
        }
        record("second", 2);
        record("third", 4);
        record("first", 7);
        let mut expected = SpanFields::default();
        for (name, value) in [("second", 2), ("third", 4), ("first", 7)] {
            let mut sink = OfSpan {
                fields: &mut expected,
                format: &format,
            };
            sink.take(name, name, Value::Unsigned(value));
        }
        assert_eq!(line(&fields), line(&expected));
        assert_eq!(fields.text.len(), expected.text.len());
    }
}
