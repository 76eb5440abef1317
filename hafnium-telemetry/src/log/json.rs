//! One JSON object per line.

use std::fmt::{self, Write as _};

use tracing::Metadata;

use super::fields::{EventFields, Value};
use super::format::timestamp;
use super::trace_context::TraceContext;

/// The members that every line has; a field of such a name becomes `field.<name>`.
const RESERVED: &[&str] = &[
    "timestamp",
    "level",
    "target",
    "message",
    "trace_id",
    "span_id",
    "trace_flags",
    "service.name",
    "service.version",
    "service.instance.id",
];

pub(super) fn open(line: &mut String, metadata: &Metadata<'_>, event: &EventFields) {
    line.push_str("{\"timestamp\":\"");
    timestamp(line);
    line.push('"');
    member(line, "level", Value::Str(metadata.level().as_str()));
    member(line, "target", Value::Str(metadata.target()));
    member(line, "message", Value::Str(&event.message));
    line.push_str(&event.encoded);
}

pub(super) fn close(line: &mut String, trace: &TraceContext, service: &str) {
    if trace.is_valid() {
        let TraceContext { trace, span, flags } = trace;
        // Writing to a String can't fail.
        let _ = write!(
            line,
            ",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\",\"trace_flags\":\"{:02x}\"",
            flags.to_u8()
        );
    }
    line.push_str(service);
    line.push_str("}\n");
}

/// Appends a field, out of the way of the members that every line has.
pub(super) fn field(out: &mut String, name: &str, value: Value<'_>) {
    if RESERVED.contains(&name) {
        member(out, &format!("field.{name}"), value);
    } else {
        member(out, name, value);
    }
}

/// Appends `,"name":value`.
pub(super) fn member(out: &mut String, name: &str, value: Value<'_>) {
    out.push_str(",\"");
    escape(out, name);
    out.push_str("\":");
    match value {
        Value::Signed(_) | Value::Unsigned(_) | Value::Bool(_) => {
            let _ = value.write_text(out);
        }
        Value::Float(number) if number.is_finite() => {
            let _ = value.write_text(out);
        }
        _ => {
            out.push('"');
            // Fails only if the value's own formatting does; what it wrote is kept and the line stays whole.
            let _ = value.write_text(&mut Escaped(out));
            out.push('"');
        }
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(out: &mut String, text: &str) {
    // Looked at as a whole, which takes a few instructions for names and most values.
    let plain = text.bytes().fold(true, |plain, byte| {
        plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
    });
    if plain {
        return out.push_str(text);
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        // Only ASCII is replaced, so both sides of it are whole characters.
        out.push_str(&text[plain..at]);
        if short.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(short);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_reads_back_as_it_was() {
        for text in [
            "",
            "plain",
            "a\"b\\c\n\r\t",
            "\u{0}\u{1f}\u{7f}",
            "Zoë ☃ \u{1F600}\"",
            "\\\\\"",
        ] {
            let mut out = String::from("{\"first\":0");
            member(&mut out, text, Value::Str(text));
            out.push('}');
            let read: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(read[text], text, "{out}");
        }
    }

    #[test]
    fn numbers_stay_numbers_unless_json_has_none_for_them() {
        let mut out = String::from("{\"first\":0");
        field(&mut out, "float", Value::Float(0.25));
        field(&mut out, "nan", Value::Float(f64::NAN));
        field(&mut out, "low", Value::Signed(-7));
        field(&mut out, "level", Value::Unsigned(3));
        out.push('}');
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["float"], 0.25);
        assert_eq!(read["nan"], "NaN");
        assert_eq!(read["low"], -7);
        assert_eq!(read["field.level"], 3);
    }
}
