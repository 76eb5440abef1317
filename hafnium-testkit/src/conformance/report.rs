//! What held and what did not: a table for people, figures for machines.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::referee::{Figures, Row};

/// What a service is put through. See [the table](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the table of the module says it once")]
pub enum Case {
    Start,
    Probes,
    Loss,
    Reload,
    Rotation,
    Sigterm,
    SecondSignal,
    Flush,
    ExitCodes,
}

impl Case {
    /// All cases, in the order in which they are run.
    pub const ALL: [Case; 9] = [
        Case::Start,
        Case::Probes,
        Case::Loss,
        Case::Reload,
        Case::Rotation,
        Case::Sigterm,
        Case::SecondSignal,
        Case::Flush,
        Case::ExitCodes,
    ];

    /// The name in tables and figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Case::Start => "start",
            Case::Probes => "probes",
            Case::Loss => "loss",
            Case::Reload => "reload",
            Case::Rotation => "rotation",
            Case::Sigterm => "sigterm",
            Case::SecondSignal => "second signal",
            Case::Flush => "flush",
            Case::ExitCodes => "exit codes",
        }
    }
}

/// One row of the report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The case it belongs to.
    pub case: Case,
    /// What was looked at, in words.
    pub what: String,
    /// How it ended.
    pub state: State,
    /// What was measured, with its unit and the most it may be.
    pub measured: Option<(f64, &'static str, f64)>,
    /// Why it is not a pass, or what is worth knowing although it is.
    pub note: String,
}

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not be found out, or was left out without a reason: as red as a failure.
    NotRun,
    /// It was left out for the reason in the note.
    NotApplicable,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Passed => "ok",
            State::Failed => "FAILED",
            State::NotRun => "NOT RUN",
            State::NotApplicable => "n/a",
        }
    }
}

impl Finding {
    /// Something took so long; it may take `most`.
    pub(super) fn timed(case: Case, what: impl Into<String>, took: Duration, most: Duration) -> Finding {
        let (took, most) = (took.as_secs_f64() * 1000.0, most.as_secs_f64() * 1000.0);
        Finding {
            case,
            what: what.into(),
            state: if took <= most {
                State::Passed
            } else {
                State::Failed
            },
            measured: Some((took, "ms", most)),
            note: String::new(),
        }
    }

    /// What went wrong; nothing may.
    pub(super) fn wrong(case: Case, what: impl Into<String>, wrong: &[String]) -> Finding {
        let mut note = wrong.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        if wrong.len() > 3 {
            note.push_str(&format!("; and {} more", wrong.len() - 3));
        }
        Finding {
            case,
            what: what.into(),
            state: if wrong.is_empty() {
                State::Passed
            } else {
                State::Failed
            },
            measured: Some((wrong.len() as f64, "wrong", 0.0)),
            note,
        }
    }

    /// As it was to be timed, but it did not happen within `most`.
    pub(super) fn late(
        case: Case,
        what: impl Into<String>,
        most: Duration,
        note: impl Into<String>,
    ) -> Finding {
        Finding {
            case,
            what: what.into(),
            state: State::Failed,
            measured: Some((f64::INFINITY, "ms", most.as_secs_f64() * 1000.0)),
            note: note.into(),
        }
    }

    pub(super) fn not_run(case: Case, what: impl Into<String>, reason: impl Into<String>) -> Finding {
        Finding {
            case,
            what: what.into(),
            state: State::NotRun,
            measured: None,
            note: reason.into(),
        }
    }

    pub(super) fn not_applicable(case: Case, reason: &str) -> Finding {
        Finding::left_out(case, "declared not applicable", reason)
    }

    /// One row of a case that was run, which needs something that was not named.
    pub(super) fn left_out(case: Case, what: &str, reason: &str) -> Finding {
        Finding {
            case,
            what: what.to_owned(),
            state: State::NotApplicable,
            measured: None,
            note: reason.to_owned(),
        }
    }

    /// Further things that went wrong make the row red, whatever it was.
    pub(super) fn also(mut self, wrong: &[String]) -> Finding {
        for wrong in wrong {
            if !self.is_red() {
                self.state = State::Failed;
                self.measured = None;
            }
            let separator = if self.note.is_empty() { "" } else { "; " };
            self.note.push_str(separator);
            self.note.push_str(wrong);
        }
        self
    }

    pub(super) fn noting(self, note: impl Into<String>) -> Finding {
        Finding {
            note: note.into(),
            ..self
        }
    }

    fn is_red(&self) -> bool {
        matches!(self.state, State::Failed | State::NotRun)
    }
}

/// What came of a run. Prints as a table.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct Report {
    /// The name of the service's binary.
    pub service: String,
    /// The rows, in the order in which they were run.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(service: String) -> Report {
        Report {
            service,
            findings: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// The rows that failed or were not run.
    pub fn red(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_red())
    }

    /// The cases that have a red row.
    pub fn red_cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = self.red().map(|finding| finding.case).collect();
        cases.sort_unstable();
        cases.dedup();
        cases
    }

    /// The rows as figures of the suite `conformance`. What was declared not applicable is no figure; what was not
    /// run has no value.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new("conformance", 0, 1);
        let rows = self.findings.iter();
        for finding in rows.filter(|finding| finding.state != State::NotApplicable) {
            let (value, unit, most) = match finding.measured {
                Some((value, unit, most)) => (Some(value).filter(|value| value.is_finite()), unit, most),
                None => (None, "", 0.0),
            };
            let row = Row::new(finding.case.as_str(), &finding.what, value, unit);
            figures.add(row.at_most(most));
        }
        figures
    }

    /// Writes the figures to `figures/conformance.json` in the build's target directory; returns the path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self) -> Result<PathBuf, Error> {
        self.figures().write()
    }

    /// Prints the table and writes the figures; panics when a row is red.
    ///
    /// # Panics
    /// With the red rows, or with why the figures could not be written.
    #[track_caller]
    pub fn assert_passed(&self) {
        self.judged(|report| report.write());
    }

    #[track_caller]
    fn judged(&self, write: impl FnOnce(&Report) -> Result<PathBuf, Error>) {
        // Nobody is left to read it when stdout is closed.
        let _ = write!(std::io::stdout(), "{self}");
        let written = write(self);
        let mut red: Vec<String> = self.red().map(ToString::to_string).collect();
        // Figures of an earlier run would stand for this one.
        red.extend(
            written
                .err()
                .map(|error| format!("  the figures were not written: {error}")),
        );
        assert!(
            !self.findings.is_empty() && red.is_empty(),
            "{} does not conform:\n{}",
            self.service,
            red.join("\n")
        );
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = match self.measured {
            Some((value, unit, most)) => format!("{value:.0} {unit} (≤ {most:.0})"),
            None => String::new(),
        };
        let (state, case) = (self.state.as_str(), self.case.as_str());
        write!(f, "  {state:<8} {case:<14} {:<62} {measured:>22}", self.what)?;
        match self.note.as_str() {
            "" => Ok(()),
            note => write!(f, "  {note}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let red = self.red().count();
        writeln!(
            f,
            "conformance of {}: {} rows, {red} red",
            self.service,
            self.findings.len()
        )?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let mut report = Report::new("svc".into());
        report.add(findings);
        report
    }

    #[test]
    fn what_was_not_run_is_red_and_what_is_not_applicable_is_not() {
        let limit = Duration::from_secs(1);
        let report = report(vec![
            Finding::timed(Case::Start, "ready", Duration::from_millis(10), limit),
            Finding::not_applicable(Case::Rotation, "it has no secrets"),
            Finding::not_run(Case::Loss, "a dependency", "none was declared"),
            Finding::wrong(Case::Sigterm, "requests", &["reset".into()]),
            Finding::late(Case::Reload, "in force", limit, "never"),
        ]);
        assert_eq!(report.red_cases(), [Case::Loss, Case::Reload, Case::Sigterm]);
        let figures = report.figures();
        let rows: Vec<_> = figures
            .rows
            .iter()
            .map(|row| (row.name.as_str(), row.value, row.pass))
            .collect();
        assert_eq!(
            rows,
            [
                ("start", Some(10.0), true),
                ("loss", None, false),
                ("sigterm", Some(1.0), false),
                ("reload", None, false)
            ]
        );
        let table = report.to_string();
        assert!(
            table.contains("5 rows, 3 red") && table.contains("it has no secrets"),
            "{table}"
        );
    }

    fn alive() -> Vec<Finding> {
        let limit = Duration::from_secs(1);
        vec![Finding::timed(
            Case::Start,
            "alive",
            Duration::from_millis(10),
            limit,
        )]
    }

    #[test]
    #[should_panic(expected = "does not conform")]
    fn a_report_without_rows_is_no_pass() {
        let home = tempfile::tempdir().unwrap();
        report(Vec::new()).judged(|report| report.figures().write_to(home.path()));
    }

    #[test]
    fn a_pass_leaves_a_file_that_holds_its_rows() {
        let home = tempfile::tempdir().unwrap();
        report(alive()).judged(|report| report.figures().write_to(home.path()));
        let text = std::fs::read_to_string(home.path().join("conformance.json")).unwrap();
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["suite"], "conformance");
        let rows = written["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (&rows[0]["name"], &rows[0]["case"]),
            (&"start".into(), &"alive".into())
        );
    }

    #[test]
    #[should_panic(expected = "the figures were not written")]
    fn figures_that_can_not_be_written_are_no_pass() {
        let nowhere = std::path::Path::new("/dev/null/figures");
        report(alive()).judged(|report| report.figures().write_to(nowhere));
    }

    #[test]
    fn what_goes_wrong_afterwards_turns_a_pass_red_and_keeps_what_was_not_run() {
        let wrong = ["not healed".to_owned()];
        let [passed] = <[Finding; 1]>::try_from(alive()).unwrap();
        let failed = passed.clone().also(&wrong);
        assert_eq!(
            (failed.state, failed.note.as_str()),
            (State::Failed, "not healed")
        );
        assert_eq!(passed.also(&[]).state, State::Passed);
        let not_run = Finding::not_run(Case::Loss, "a loss", "no fault").also(&wrong);
        assert_eq!(
            (not_run.state, not_run.note.as_str()),
            (State::NotRun, "no fault; not healed")
        );
    }
}
