//! The figures of a suite: a table for people, the same rows as JSON for `make figures`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;

/// What a suite measured, with its targets.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Name of the suite, also of its file.
    pub suite: String,
    /// Seed of the load.
    pub seed: u64,
    /// Runs that the values are made of.
    pub runs: u32,
    /// What it ran on.
    pub machine: String,
    /// One per figure and case.
    pub rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The figure, with its statistic: `first_write_after_ready_p95`.
    pub name: String,
    /// The case: `F1 async`.
    pub case: String,
    /// What was measured; `None` is *not run*, and never a pass.
    pub value: Option<f64>,
    /// Unit of value and target.
    pub unit: String,
    /// How the value relates to its target: `<=`, `>=` or `==`. Without a target the row is for information.
    pub op: Option<&'static str>,
    /// The target.
    pub target: Option<f64>,
    /// Whether the target was met; without one, whether it was measured.
    pub pass: bool,
    /// What a ratio is measured against.
    pub against: Option<String>,
}

impl Row {
    /// A figure without a target yet.
    pub fn new(
        name: impl Into<String>,
        case: impl Into<String>,
        value: Option<f64>,
        unit: impl Into<String>,
    ) -> Row {
        Row {
            name: name.into(),
            case: case.into(),
            value,
            unit: unit.into(),
            op: None,
            target: None,
            pass: value.is_some_and(|value| !value.is_nan()),
            against: None,
        }
    }

    /// Shall be `target` or less.
    #[must_use]
    pub fn at_most(self, target: f64) -> Row {
        self.judged("<=", target, |value| value <= target)
    }

    /// Shall be `target` or more.
    #[must_use]
    pub fn at_least(self, target: f64) -> Row {
        self.judged(">=", target, |value| value >= target)
    }

    /// Shall be exactly `target`: for counts.
    #[must_use]
    pub fn exactly(self, target: f64) -> Row {
        self.judged("==", target, |value| value == target)
    }

    /// Names what a ratio is measured against.
    #[must_use]
    pub fn against(self, other: impl Into<String>) -> Row {
        Row {
            against: Some(other.into()),
            ..self
        }
    }

    fn judged(self, op: &'static str, target: f64, met: impl Fn(f64) -> bool) -> Row {
        Row {
            op: Some(op),
            target: Some(target),
            pass: self.value.is_some_and(met),
            ..self
        }
    }
}

impl Figures {
    /// No rows yet; the machine is described by its number of cores.
    pub fn new(suite: impl Into<String>, seed: u64, runs: u32) -> Figures {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Figures {
            suite: suite.into(),
            seed,
            runs,
            machine: format!("{cores} cores"),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The rows that miss their target or were not run.
    pub fn misses(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.pass)
    }

    /// Writes `figures/<suite>.json` into the build's target directory; returns the path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self) -> Result<PathBuf, Error> {
        self.write_to(&target_directory()?.join("figures"))
    }

    /// Writes `<suite>.json` into a directory, which is created where needed; returns the path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_to(&self, directory: &Path) -> Result<PathBuf, Error> {
        let path = directory.join(format!("{}.json", self.suite));
        let doing = || format!("write {}", path.display());
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::io(doing())(std::io::Error::other(error)))?;
        text.push('\n');
        std::fs::create_dir_all(directory).map_err(Error::io(doing()))?;
        std::fs::write(&path, text).map_err(Error::io(doing()))?;
        Ok(path)
    }
}

/// Test binaries and benches lie in it, in whatever place it was put: it is the one where cargo notes the compiler. (It tags
/// a directory only when it makes it itself.)
fn target_directory() -> Result<PathBuf, Error> {
    let doing = "find the build's target directory";
    let program = std::env::current_exe().map_err(Error::io(doing))?;
    let tagged = program
        .ancestors()
        .find(|directory| directory.join(".rustc_info.json").exists());
    tagged
        .map(Path::to_owned)
        .ok_or_else(|| Error::refused(doing, "the program was not started from within it"))
}

/// The table, misses first: none hides among the passes.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} (seed {}, {} runs, {})",
            self.suite, self.seed, self.runs, self.machine
        )?;
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.pass);
        for row in rows {
            let mark = if row.pass { "ok  " } else { "MISS" };
            let value = row.value.map_or("not run".into(), |value| format!("{value:.2}"));
            let target = row
                .op
                .zip(row.target)
                .map_or(String::new(), |(op, target)| format!("{op} {target}"));
            let against = row
                .against
                .as_ref()
                .map_or(String::new(), |other| format!("  against {other}"));
            let Row { name, case, unit, .. } = row;
            writeln!(
                f,
                "  {mark} {name:<40} {case:<24} {value:>10} {unit:<6} {target:<10}{against}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_is_never_a_pass() {
        assert!(!Row::new("p95", "F1", None, "ms").pass);
        assert!(!Row::new("p95", "F1", None, "ms").at_most(30.0).pass);
        assert!(!Row::new("p95", "F1", Some(f64::NAN), "ms").at_most(30.0).pass);
        assert!(Row::new("p95", "F1", Some(30.0), "ms").at_most(30.0).pass);
        assert!(!Row::new("ratio", "steady", Some(1.4), "x").at_least(1.5).pass);
    }

    #[test]
    fn the_file_holds_the_rows_and_the_table_shows_misses_first() {
        let mut figures = Figures::new("sample", 7, 20);
        figures.add(Row::new("lost", "F1", Some(0.0), "").exactly(0.0));
        figures.add(
            Row::new("ratio", "steady", Some(1.2), "x")
                .at_least(1.5)
                .against("sqlx 0.9"),
        );
        let directory = tempfile::tempdir().unwrap();
        let path = figures.write_to(&directory.path().join("figures")).unwrap();
        let read: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(read["seed"], 7);
        let row = serde_json::json!({"name": "ratio", "case": "steady", "value": 1.2, "unit": "x", "op": ">=",
            "target": 1.5, "pass": false, "against": "sqlx 0.9"});
        assert_eq!(read["rows"][1], row);
        let table = figures.to_string();
        assert!(
            table.find("MISS").unwrap() < table.find("ok  ").unwrap(),
            "{table}"
        );
        assert_eq!(figures.misses().count(), 1);
        assert!(target_directory().unwrap().join(".rustc_info.json").exists());
    }
}
