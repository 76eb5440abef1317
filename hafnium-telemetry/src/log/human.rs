//! Lines for people.

use std::fmt::{self, Write as _};

use tracing::{Level, Metadata};

use super::fields::{EventFields, Value};
use super::timestamp::timestamp;
use super::trace_context::TraceContext;

const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

pub(super) fn open(line: &mut String, metadata: &Metadata<'_>, event: &EventFields, colour: bool) {
    let (dim, reset) = if colour { (DIM, RESET) } else { ("", "") };
    line.push_str(dim);
    timestamp(line);
    line.push_str(reset);
    let level = if colour { paint(*metadata.level()) } else { "" };
    // Writing to a String can't fail.
    let _ = write!(
        line,
        " {level}{:>5}{reset} {dim}{}{reset} ",
        metadata.level().as_str(),
        metadata.target()
    );
    let _ = Printable {
        out: line,
        lines: true,
    }
    .write_str(&event.message);
    line.push_str(&event.encoded);
}

pub(super) fn key(out: &mut String, name: &str, colour: bool) {
    let (dim, reset) = if colour { (DIM, RESET) } else { ("", "") };
    let _ = write!(out, " {dim}{name}={reset}");
}

pub(super) fn value(out: &mut String, value: Value<'_>) {
    match value {
        Value::Str(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
            let _ = write!(out, "{text:?}");
        }
        // A failure can only be the value's own; what it wrote is kept.
        value => {
            let _ = value.write_text(&mut Printable { out, lines: false });
        }
    }
}

pub(super) fn close(line: &mut String, trace: &TraceContext, colour: bool) {
    if trace.is_valid() {
        let (dim, reset) = if colour { (DIM, RESET) } else { ("", "") };
        let _ = write!(line, " {dim}trace_id={}{reset}", trace.trace);
    }
    line.push('\n');
}

/// Keeps control characters of logged values away from the terminal; a message may have several lines.
struct Printable<'a> {
    out: &'a mut String,
    lines: bool,
}

impl fmt::Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let kept = !character.is_control() || character == '\t' || (character == '\n' && self.lines);
            if kept {
                self.out.push(character);
            } else {
                write!(self.out, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_value_can_neither_colour_the_terminal_nor_forge_a_line() {
        let mut out = String::new();
        key(&mut out, "name", false);
        value(&mut out, Value::Str("x\u{1b}[31m\nERROR"));
        assert_eq!(out, " name=x\\u{1b}[31m\\nERROR");
        out.clear();
        value(&mut out, Value::Str("two words"));
        assert_eq!(out, "\"two words\"");
    }
}
