//! How a process ends: its exit code, and the reason where an orchestrator looks for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::component::StartError;
use crate::config::ConfigError;
use crate::lifecycle::{StartFailure, Verdict};

/// What Kubernetes keeps of a termination message.
const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// The exit code of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// 0: a clean end, also after a complete drain.
    Clean,
    /// 1: a failure while running.
    Failure,
    /// 2: the command line was not understood.
    Usage,
    /// 69: a required dependency was unavailable until the start deadline.
    Unavailable,
    /// 75: the drain was incomplete at its deadline; what was under way is named.
    Incomplete,
    /// 78: the configuration is invalid or can't work.
    Configuration,
    /// 101: `main` panicked.
    Panic,
}

impl Exit {
    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Incomplete => 75,
            Self::Configuration => 78,
            Self::Panic => 101,
        }
    }

    /// `reason` on one line, however many it had.
    pub fn line(reason: &str) -> String {
        let lines = reason.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Leaves the one-line reason, and a longer report below it, in the termination log at `path`.
    ///
    /// Kubernetes makes the file (`/dev/termination-log`) and shows at most 4096 bytes of it; what is more is cut.
    /// The file is never made here: outside a pod there is none, and the answer is `false`.
    pub fn record(path: &Path, reason: &str, report: &str) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).truncate(true).open(path);
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        file.write_all(message(reason, report).as_bytes())?;
        Ok(true)
    }
}

/// The message: the reason on one line, the report below, cut at a character's border.
fn message(reason: &str, report: &str) -> String {
    let mut message = Exit::line(reason);
    message.push('\n');
    message.push_str(report);
    message.truncate(message.floor_char_boundary(TERMINATION_MESSAGE_BYTES));
    message
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Unavailable { .. } => Self::Unavailable,
            StartError::Configuration { .. } => Self::Configuration,
            StartError::Failed { .. } => Self::Failure,
        }
    }
}

impl From<&StartFailure> for Exit {
    fn from(failure: &StartFailure) -> Self {
        Self::from(&failure.error)
    }
}

impl From<&Verdict> for Exit {
    fn from(verdict: &Verdict) -> Self {
        match verdict.is_clean() {
            true => Self::Clean,
            false => Self::Incomplete,
        }
    }
}

impl From<&ConfigError> for Exit {
    fn from(_: &ConfigError) -> Self {
        Self::Configuration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Phase;

    #[test]
    fn a_long_report_is_cut_at_a_characters_border_and_the_reason_stays_on_one_line() {
        let text = message("it\nbroke", &"ä".repeat(5000));
        assert!(text.starts_with("it broke\nä"));
        assert!((TERMINATION_MESSAGE_BYTES - 1..=TERMINATION_MESSAGE_BYTES).contains(&text.len()));
    }

    #[test]
    fn a_termination_log_is_replaced_where_there_is_one_and_never_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        assert!(!Exit::record(&path, "reason", "").unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "what an earlier, much longer message said").unwrap();
        assert!(Exit::record(&path, "reason", "report").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "reason\nreport");
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = [
            Exit::Clean,
            Exit::Failure,
            Exit::Usage,
            Exit::Unavailable,
            Exit::Incomplete,
            Exit::Configuration,
            Exit::Panic,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 69, 75, 78, 101]);
        assert_eq!(
            Exit::from(&StartError::unavailable("redis", "refused")).code(),
            69
        );
        assert_eq!(Exit::from(&StartError::configuration("redis", "no")).code(), 78);
        assert_eq!(Exit::from(&StartError::failed("redis", "no")).code(), 1);
        let mut verdict = Verdict::default();
        assert_eq!(Exit::from(&verdict).code(), verdict.exit_code());
        verdict.stragglers.push((Phase::Drain, "GET /slow".to_owned()));
        assert_eq!(Exit::from(&verdict).code(), 75);
    }
}
