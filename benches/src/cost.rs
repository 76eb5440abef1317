//! Processor time of this process: what a request costs whatever else the machine does meanwhile.

use std::io;
use std::time::Duration;

/// Ticks per second of the times in `/proc`: what `sysconf(_SC_CLK_TCK)` says on every Linux since 2.6.
const TICKS: u64 = 100;

/// What this process and its threads have used.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// Until now, to a hundredth of a second.
    ///
    /// # Errors
    /// When `/proc/self/stat` can't be read.
    pub fn now() -> io::Result<Self> {
        parse(&std::fs::read_to_string("/proc/self/stat")?)
            .ok_or_else(|| io::Error::other("no processor times in /proc/self/stat"))
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// The fields after the name of the program, which may hold anything, parentheses too: proc(5).
fn parse(stat: &str) -> Option<CpuTime> {
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields.split_whitespace().skip(11).map(|ticks| {
        let ticks: u64 = ticks.parse().ok()?;
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    });
    Some(CpuTime {
        user: times.next()??,
        system: times.next()??,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_read_past_a_name_that_looks_like_fields() {
        let stat = "17 (a) b (c) R 1 17 17 0 -1 4194304 100 0 0 0 250 75 0 0 20 0 4 0 100 1 1";
        let time = parse(stat).unwrap();
        assert_eq!(time.user, Duration::from_millis(2500));
        assert_eq!(time.system, Duration::from_millis(750));
        assert!(parse("17 (a) R 1").is_none());
    }

    #[test]
    fn work_shows_as_time_in_user_mode() {
        let before = CpuTime::now().unwrap();
        let mut count = 0_u64;
        while CpuTime::now().unwrap().since(before).user < Duration::from_millis(30) {
            count = std::hint::black_box(count + 1);
        }
        assert!(count > 0);
    }
}
