//! The figures of a suite: a table for people, the same rows as JSON for `make figures`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

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
    /// The part of the suite that these rows are, where several programs measure it.
    #[serde(skip)]
    part: Option<String>,
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
    /// Between what the value lay in the runs that it is the middle of; left out of the file where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
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
            interval: None,
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

    /// Between what the value lay in the runs that it is the middle of.
    #[must_use]
    pub fn between(self, low: f64, high: f64) -> Row {
        Row {
            interval: Some([low, high]),
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
            part: None,
        }
    }

    /// One part of a suite whose rows come from several programs. Each writes its own; the file of the suite holds those
    /// of all parts that were written. A row that was not run gives way to what another part measured under its name.
    pub fn part(suite: impl Into<String>, part: impl Into<String>, seed: u64, runs: u32) -> Figures {
        Figures {
            part: Some(part.into()),
            ..Figures::new(suite, seed, runs)
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
        let Some(part) = &self.part else {
            store(&path, self)?;
            return Ok(path);
        };
        let parts = directory.join("parts").join(&self.suite);
        store(&parts.join(format!("{part}.json")), self)?;
        store(&path, &assembled(&self.suite, &parts)?)?;
        Ok(path)
    }
}

fn store(path: &Path, figures: &impl Serialize) -> Result<(), Error> {
    let doing = || format!("write {}", path.display());
    let mut text = serde_json::to_string_pretty(figures)
        .map_err(|error| Error::io(doing())(std::io::Error::other(error)))?;
    text.push('\n');
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(Error::io(doing()))?;
    }
    std::fs::write(path, text).map_err(Error::io(doing()))
}

/// One suite of all its parts, in the order of their names.
fn assembled(suite: &str, parts: &Path) -> Result<Value, Error> {
    let doing = || format!("read {}", parts.display());
    let mut paths: Vec<PathBuf> = std::fs::read_dir(parts)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(Error::io(doing()))?;
    paths.sort();
    let mut whole = json!({ "suite": suite });
    let mut rows: Vec<Value> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(Error::io(doing()))?;
        let mut part: Value =
            serde_json::from_str(&text).map_err(|error| Error::io(doing())(std::io::Error::other(error)))?;
        for key in ["seed", "machine"] {
            whole[key] = part[key].take();
        }
        // As many as the part with the fewest: nothing looks better founded than it is.
        let runs = part["runs"].as_u64().unwrap_or_default();
        whole["runs"] = json!(whole["runs"].as_u64().unwrap_or(u64::MAX).min(runs));
        for mut row in part["rows"].as_array_mut().into_iter().flat_map(std::mem::take) {
            row["runs"] = json!(runs);
            rows.push(row);
        }
    }
    let measured: Vec<Value> = rows
        .iter()
        .filter(|row| !row["value"].is_null())
        .map(|row| row["name"].clone())
        .collect();
    rows.retain(|row| !row["value"].is_null() || !measured.contains(&row["name"]));
    whole["rows"] = Value::Array(rows);
    Ok(whole)
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
            let interval = row.interval.map_or(String::new(), |[low, high]| {
                format!("  between {low:.3} and {high:.3}")
            });
            let Row { name, case, unit, .. } = row;
            writeln!(
                f,
                "  {mark} {name:<40} {case:<24} {value:>10} {unit:<6} {target:<10}{interval}{against}"
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
    fn the_rows_of_a_suite_may_come_from_several_programs_and_what_was_measured_wins() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Figures::part("core", "process", 0, 20);
        process.add(Row::new("idle_rss", "all", Some(20.0), "MB").at_most(25.0));
        process.add(Row::new("probe_p99", "", None, "µs").at_most(20.0));
        process.add(Row::new("hello", "", None, "ratio").at_least(0.95));
        process.write_to(directory.path()).unwrap();
        let mut probes = Figures::part("core", "probes", 0, 9);
        probes.add(Row::new("probe_p99", "all down", Some(7.0), "µs").at_most(20.0));
        // Written twice: the rows are not.
        probes.write_to(directory.path()).unwrap();
        let path = probes.write_to(directory.path()).unwrap();
        let read: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((&read["suite"], &read["runs"]), (&json!("core"), &json!(9)));
        let rows = read["rows"].as_array().unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row["name"].as_str().unwrap(), &row["value"], &row["pass"]))
            .collect();
        assert_eq!(
            rows,
            [
                ("probe_p99", &json!(7.0), &json!(true)),
                ("idle_rss", &json!(20.0), &json!(true)),
                ("hello", &Value::Null, &json!(false)),
            ]
        );
    }

    #[test]
    fn the_file_holds_the_rows_and_the_table_shows_misses_first() {
        let mut figures = Figures::new("sample", 7, 20);
        figures.add(Row::new("lost", "F1", Some(0.0), "").exactly(0.0));
        figures.add(
            Row::new("ratio", "steady", Some(1.2), "x")
                .at_least(1.5)
                .against("sqlx 0.9")
                .between(1.1, 1.25),
        );
        let directory = tempfile::tempdir().unwrap();
        let path = figures.write_to(&directory.path().join("figures")).unwrap();
        let read: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(read["seed"], 7);
        let row = serde_json::json!({"name": "ratio", "case": "steady", "value": 1.2, "unit": "x", "op": ">=",
            "target": 1.5, "pass": false, "against": "sqlx 0.9", "interval": [1.1, 1.25]});
        assert_eq!(read["rows"][1], row);
        assert!(
            read["rows"][0].get("interval").is_none(),
            "only where there is one"
        );
        let table = figures.to_string();
        assert!(
            table.find("MISS").unwrap() < table.find("ok  ").unwrap(),
            "{table}"
        );
        assert!(table.contains("between 1.100 and 1.250"), "{table}");
        assert_eq!(figures.misses().count(), 1);
        assert!(target_directory().unwrap().join(".rustc_info.json").exists());
    }
}
