//! Times as a person reads them.

use std::time::Duration;

/// `12 ms`, `3.2 s`, `4 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() == 0 && !time.is_zero() => format!("{} µs", time.as_micros()),
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
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
            assert_eq!(spoken(Duration::from_millis(millis)), text);
        }
        assert_eq!(spoken(Duration::from_micros(250)), "250 µs");
    }
}
