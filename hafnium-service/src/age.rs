//! How old this process is.

use std::fs;
use std::time::Duration;

/// Ticks per second in `/proc`: part of the kernel's interface (`USER_HZ`), whatever its own timer does.
const TICKS: f64 = 100.0;

/// The time since this process was made, to a hundredth of a second; `None` where there is no `/proc`.
pub(crate) fn age() -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    between(&uptime, &stat)
}

fn between(uptime: &str, stat: &str) -> Option<Duration> {
    let now: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    // The command's name may hold blanks and parentheses; numbers begin behind its last one, with field 3. Field 22 is
    // the start, counted from the boot like the uptime.
    let (_, fields) = stat.rsplit_once(')')?;
    let started: f64 = fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Duration::try_from_secs_f64((now - started / TICKS).max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_the_uptime_less_the_start() {
        let numbers: Vec<String> = (4..=52).map(|number: u32| (number * 100).to_string()).collect();
        let stat = format!("1 (a) b (c) S {}", numbers.join(" "));
        assert_eq!(between("30.25 99.00\n", &stat), Some(Duration::from_millis(8250)));
        assert_eq!(between("21.99 99.00\n", &stat), Some(Duration::ZERO));
        assert_eq!(between("", &stat), None);
        assert_eq!(between("30.25", "1 (a) S 1"), None);
    }
}
