//! Times as a person reads them, with no break between a number and its unit.

use std::time::Duration;

/// `12 ms`, `3.2 s`, `4 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() == 0 && !time.is_zero() => format!("{}\u{a0}µs", time.as_micros()),
        0 => format!("{}\u{a0}ms", time.as_millis()),
        1..10 => format!("{:.1}\u{a0}s", time.as_secs_f64()),
        10..60 => format!("{seconds}\u{a0}s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    match small {
        0 => format!("{large}\u{a0}{unit}"),
        small => format!("{large}\u{a0}{unit} {small}\u{a0}{smaller}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_210, "3.2 s"),
            (59_000, "59 s"),
            (245_000, "4 min 5 s"),
            (7_800_000, "2 h 10 min"),
            (86_400_000, "1 d"),
        ] {
            let spoken = spoken(Duration::from_millis(millis));
            assert_eq!(spoken.replace('\u{a0}', " "), text);
        }
        assert_eq!(spoken(Duration::from_micros(250)), "250\u{a0}µs");
    }
}
