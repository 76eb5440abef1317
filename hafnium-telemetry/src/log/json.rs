//! One JSON object per line.

use std::fmt::{self, Write as _};

use tracing::Metadata;

use super::fields::{EventFields, Value};
use super::number::write_hex;
use super::timestamp::timestamp;
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
        let mut ids = *IDS;
        write_hex(&mut ids[TRACE..], &trace.trace.to_bytes());
        write_hex(&mut ids[SPAN..], &trace.span.to_bytes());
        write_hex(&mut ids[FLAGS..], &[trace.flags.to_u8()]);
        line.push_str(str::from_utf8(&ids).unwrap_or_default());
    }
    line.push_str(service);
    line.push_str("}\n");
}

/// The members of a trace, and where in it the ids begin.
const IDS: &[u8; 94] =
    b",\"trace_id\":\"00000000000000000000000000000000\",\"span_id\":\"0000000000000000\",\"trace_flags\":\"00\"";
const TRACE: usize = 13;
const SPAN: usize = 58;
const FLAGS: usize = 91;

/// Appends `,"name":`, out of the way of the members that every line has.
pub(super) fn key(out: &mut String, name: &str) {
    out.push_str(",\"");
    if RESERVED.contains(&name) {
        out.push_str("field.");
    }
    escape(out, name);
    out.push_str("\":");
}

/// Appends `,"name":value`.
pub(super) fn member(out: &mut String, name: &str, of: Value<'_>) {
    out.push_str(",\"");
    escape(out, name);
    out.push_str("\":");
    value(out, of);
}

/// Appends the value of a member.
pub(super) fn value(out: &mut String, value: Value<'_>) {
    match value {
        Value::Signed(_) | Value::Unsigned(_) | Value::Bool(_) => {
            let _ = value.write_text(out);
        }
        Value::Float(number) if number.is_finite() => {
            let _ = value.write_text(out);
        }
        Value::Str(text) => {
            out.push('"');
            escape(out, text);
            out.push('"');
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
    if is_plain(text.as_bytes()) {
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

/// Whether nothing in `text` is escaped. Eight bytes are looked at at a time, as one number: names and most values are
/// short, and come by the dozen.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // Whether a byte is less than `limit` shows in its high bit: borrows only come from bytes that are.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let is = |word: u64, byte: u64| below(word ^ (ONES * byte), 1);
    let (words, rest) = text.as_chunks::<8>();
    let escaped = words.iter().fold(0, |escaped, word| {
        let word = u64::from_ne_bytes(*word);
        escaped | below(word, 0x20) | is(word, u64::from(b'"')) | is(word, u64::from(b'\\'))
    });
    escaped == 0
        && rest
            .iter()
            .all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\')
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
    fn a_text_is_plain_if_no_byte_of_it_is_escaped() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = vec![b'~'; length];
                    text[at] = byte;
                    let escaped = byte < 0x20 || byte == b'"' || byte == b'\\';
                    assert_eq!(is_plain(&text), !escaped, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_ids_of_a_trace_stand_in_their_places() {
        let trace = TraceContext {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c.into(),
            span: 0xb7ad_6b71_6920_3331.into(),
            flags: opentelemetry::trace::TraceFlags::SAMPLED,
        };
        let mut out = String::from("{\"first\":0");
        close(&mut out, &trace, "");
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(read["span_id"], "b7ad6b7169203331");
        assert_eq!(read["trace_flags"], "01");
    }

    #[test]
    fn numbers_stay_numbers_unless_json_has_none_for_them() {
        let mut out = String::from("{\"first\":0");
        let mut field = |name, of| {
            key(&mut out, name);
            value(&mut out, of);
        };
        field("float", Value::Float(0.25));
        field("nan", Value::Float(f64::NAN));
        field("low", Value::Signed(-7));
        field("level", Value::Unsigned(3));
        out.push('}');
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["float"], 0.25);
        assert_eq!(read["nan"], "NaN");
        assert_eq!(read["low"], -7);
        assert_eq!(read["field.level"], 3);
    }
}
