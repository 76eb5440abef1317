//! What the kernel says of a process.

use std::fmt;

use rustix::process::{Pid, Signal};

/// A process that cannot be mistaken for a later one with the same number: pid and start time (clock ticks since boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct ProcessId {
    /// The process number.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`.
    pub started: u64,
}

/// The state letter of `/proc/<pid>/stat`, as far as the rig tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum ProcessState {
    /// `R`, `S`, `D`, `I`: it runs or could.
    Alive,
    /// `T`: stopped by a signal.
    Stopped,
    /// `Z` or `X`, or there is no such process (any more).
    Gone,
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcessState::Alive => "alive",
            ProcessState::Stopped => "T (stopped)",
            ProcessState::Gone => "gone",
        })
    }
}

impl ProcessId {
    /// The process that has this number now; `None` when there is none.
    pub fn of(pid: u32) -> Option<ProcessId> {
        read(pid).map(|(_, started)| ProcessId { pid, started })
    }

    /// The state now.
    pub fn state(self) -> ProcessState {
        match read(self.pid) {
            Some((_, started)) if started != self.started => ProcessState::Gone,
            None | Some(('Z' | 'X', _)) => ProcessState::Gone,
            Some(('T', _)) => ProcessState::Stopped,
            Some(_) => ProcessState::Alive,
        }
    }

    /// Sends `signal` unless the process is gone; gone is not an error, since processes end on their own.
    pub(crate) fn signal(self, signal: Signal) {
        if self.state() == ProcessState::Gone {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // ESRCH is the only answer for a child of ours or of our own user, and it means that it is gone.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }
}

fn read(pid: u32) -> Option<(char, u64)> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, second field, is in parentheses and may itself hold spaces and parentheses: count from the last one.
fn parse(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (postgres: a) b) T 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 1 1";
        assert_eq!(parse(stat), Some(('T', 98765)));
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert_eq!(me.state(), ProcessState::Alive);
        assert_eq!(
            ProcessId {
                started: me.started + 1,
                ..me
            }
            .state(),
            ProcessState::Gone
        );
    }
}
