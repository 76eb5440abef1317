//! When a line was written: RFC 3339 in UTC, with microseconds.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

/// Of `2026-11-21T22:37:19`.
const TO_THE_SECOND: usize = 19;

/// A second since the epoch, as text.
#[derive(Default)]
struct Second {
    number: u64,
    text: String,
}

thread_local! {
    /// The second of the last line of this thread: all that changes from one line to the next is what follows it.
    static LAST: RefCell<Second> = RefCell::default();
}

/// Appends the present instant.
pub(super) fn timestamp(out: &mut String) {
    let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        return format_now(out);
    };
    let known = LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        if last.text.is_empty() || last.number != since.as_secs() {
            last.renew();
        }
        // The second may have changed between two looks at the clock.
        let known = !last.text.is_empty() && last.number == since.as_secs();
        if known {
            out.push_str(&last.text);
        }
        known
    });
    match known {
        Ok(true) => {
            out.push('.');
            push_digits(out, since.subsec_micros(), 6);
            out.push('Z');
        }
        _ => format_now(out),
    }
}

impl Second {
    /// Becomes the present second, or stays empty where that ends in this moment.
    fn renew(&mut self) {
        let second = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map(|since| since.as_secs()).unwrap_or_default()
        };
        self.number = second();
        self.text.clear();
        format_now(&mut self.text);
        self.text.truncate(TO_THE_SECOND);
        if self.number != second() {
            self.text.clear();
        }
    }
}

fn format_now(out: &mut String) {
    // Writing to a String can't fail.
    let _ = time::SystemTime.format_time(&mut Writer::new(out));
}

/// Appends the last `digits` decimal digits of `number`.
fn push_digits(out: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_second_is_the_present_instant() {
        let mut lines = Vec::new();
        let begun = std::time::Instant::now();
        // Over the end of a second, so that one is renewed.
        while begun.elapsed() < std::time::Duration::from_millis(1100) {
            let (mut before, mut text, mut after) = (String::new(), String::new(), String::new());
            format_now(&mut before);
            timestamp(&mut text);
            format_now(&mut after);
            assert_eq!(text.len(), "2026-11-21T22:37:19.012345Z".len(), "{text}");
            assert!(before <= text && text <= after, "{before} {text} {after}");
            lines.push(text);
        }
        assert!(lines.is_sorted());
        assert_ne!(lines[0][..TO_THE_SECOND], lines[lines.len() - 1][..TO_THE_SECOND]);
    }
}
