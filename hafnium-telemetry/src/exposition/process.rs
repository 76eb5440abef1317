//! The process as the kernel sees it, read from `/proc` at each scrape. Where there is no `/proc`, nothing is shown.

use std::fmt::{Display, Write};
use std::fs;

/// Ticks per second in `/proc`: part of the kernel's interface (`USER_HZ`), whatever its own timer does.
const TICKS: f64 = 100.0;

/// The metrics of this process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Read once: the kernel's boot time wobbles with the clock, and would let one start look like several.
    start_time: Option<f64>,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            start_time: start_time(),
        }
    }

    /// Appends the text of every metric that can be read.
    pub(crate) fn render(&self, out: &mut String) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        metric(
            out,
            "process_cpu_seconds_total",
            "counter",
            "CPU time of the process, user and system, in seconds",
            stat().map(|stat| stat.cpu_seconds()),
        );
        metric(
            out,
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory in bytes",
            keyed(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
        );
        metric(
            out,
            "process_threads",
            "gauge",
            "Threads of the process",
            keyed(&status, "Threads:"),
        );
        metric(
            out,
            "process_open_fds",
            "gauge",
            "Open file descriptors",
            open_fds(),
        );
        metric(
            out,
            "process_max_fds",
            "gauge",
            "Most file descriptors the process may open",
            max_fds(&fs::read_to_string("/proc/self/limits").unwrap_or_default()),
        );
        metric(
            out,
            "process_start_time_seconds",
            "gauge",
            "When the process started, in seconds since the epoch",
            self.start_time,
        );
    }
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        // Writing to a String can't fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
}

/// The fields of `/proc/self/stat` that are used.
struct Stat {
    user: u64,
    system: u64,
    started: u64,
}

impl Stat {
    fn cpu_seconds(&self) -> f64 {
        (self.user + self.system) as f64 / TICKS
    }
}

fn stat() -> Option<Stat> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The command's name may hold blanks and parentheses; numbers begin behind its last one, with field 3.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Stat {
        user: field(14)?,
        system: field(15)?,
        started: field(22)?,
    })
}

fn start_time() -> Option<f64> {
    let boot = keyed(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    Some(boot as f64 + stat()?.started as f64 / TICKS)
}

/// The first number behind `key` at the beginning of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<usize> {
    // Listing the directory opens it.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

fn max_fds(limits: &str) -> Option<u64> {
    keyed(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let numbers: Vec<String> = (4..=52).map(|number: u32| number.to_string()).collect();
        let stat = parse_stat(&format!("1 (a) b (c) S {}", numbers.join(" "))).unwrap();
        assert_eq!((stat.user, stat.system, stat.started), (14, 15, 22));
        assert!(parse_stat("1 (a) S 1 2").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_metric_is_read_and_plausible() {
        let mut text = String::new();
        Process::new().render(&mut text);
        let value = |name: &str| -> f64 {
            let prefix = format!("{name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
