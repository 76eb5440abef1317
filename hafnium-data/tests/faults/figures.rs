//! Rows of figures from runs of one fault in one mode, and how many runs there shall be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hafnium_testkit::referee::{Figures, Row, Samples};

/// How often a fault is made to happen, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    pub count: u32,
    pub seed: u64,
    /// Many runs on a machine that does nothing else, for percentiles; else one for correctness.
    pub measured: bool,
}

impl Runs {
    /// One in `cargo test`; `many` where `HAFNIUM_FIGURES` is set. `HAFNIUM_RUNS` and `HAFNIUM_SEED` win.
    pub fn wanted(many: u32) -> Runs {
        let measured = std::env::var_os("HAFNIUM_FIGURES").is_some();
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            let number: u64 = text
                .parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number"));
            Some(number)
        };
        Runs {
            count: number("HAFNIUM_RUNS").map_or(if measured { many } else { 1 }, |runs| runs.max(1) as u32),
            seed: number("HAFNIUM_SEED").unwrap_or(7),
            measured,
        }
    }

    /// A seed per run.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        let seed = self.seed;
        (0..u64::from(self.count)).map(move |run| seed + run)
    }
}

/// What one run came to. `None` where the fault does not define it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub lost_acknowledged: Option<u64>,
    pub doubled: u64,
    pub stale_reads: u64,
    pub deposed_acknowledged: Option<u64>,
    pub past_deadline: u64,
    pub failed: u64,
    pub unknown: u64,
    pub first_write_after_ready: Option<Duration>,
}

/// The runs of one fault in one mode.
#[derive(Debug)]
pub struct Case {
    /// `F1 async`.
    pub name: String,
    /// The most requests of one run that may fail.
    pub may_fail: u64,
    /// Whether the first acknowledged write is a figure of this fault.
    pub timed: bool,
    pub outcomes: Vec<Outcome>,
}

impl Case {
    pub fn new(name: impl Into<String>, may_fail: u64) -> Case {
        Case {
            name: name.into(),
            may_fail,
            timed: false,
            outcomes: Vec::new(),
        }
    }

    pub fn timed(self) -> Case {
        Case { timed: true, ..self }
    }

    /// Counts that must be none are summed over the runs, what is bounded per run is the worst run's. A case of which
    /// a run is missing has no values: not run.
    pub fn rows(&self, wanted: u32) -> Vec<Row> {
        let complete = self.outcomes.len() == wanted as usize;
        let value = |value: Option<f64>| value.filter(|_| complete);
        let sum = |of: &dyn Fn(&Outcome) -> Option<u64>| {
            let all: Option<Vec<u64>> = self.outcomes.iter().map(of).collect();
            value(all.map(|all| all.iter().sum::<u64>() as f64))
        };
        let worst =
            |of: &dyn Fn(&Outcome) -> u64| value(self.outcomes.iter().map(of).max().map(|most| most as f64));
        let row = |name: &str, value: Option<f64>, unit: &str| Row::new(name, &self.name, value, unit);
        let mut rows = vec![
            row("doubled", sum(&|run| Some(run.doubled)), "ids").exactly(0.0),
            row("stale_reads", sum(&|run| Some(run.stale_reads)), "reads").exactly(0.0),
            row("past_deadline", sum(&|run| Some(run.past_deadline)), "requests").exactly(0.0),
            row("failed", worst(&|run| run.failed), "requests").at_most(self.may_fail as f64),
            // What failed otherwise could have been repeated.
            row("unknown", worst(&|run| run.unknown), "requests").at_most(self.may_fail as f64),
        ];
        for (name, of) in [
            (
                "lost_acknowledged",
                &(|run: &Outcome| run.lost_acknowledged) as &dyn Fn(&Outcome) -> _,
            ),
            ("deposed_acknowledged", &|run| run.deposed_acknowledged),
        ] {
            if self.outcomes.iter().any(|run| of(run).is_some()) {
                rows.push(row(name, sum(of), "writes").exactly(0.0));
            }
        }
        if self.timed {
            let mut samples = Samples::new();
            for first in self.outcomes.iter().filter_map(|run| run.first_write_after_ready) {
                samples.add_ms(first);
            }
            let all = samples.len() == wanted as usize;
            let ms = |name: &str, value: Option<f64>| row(name, value.filter(|_| all), "ms");
            rows.push(ms("first_write_after_ready_p50", samples.median()).at_most(8.0));
            rows.push(ms("first_write_after_ready_p95", samples.percentile(95.0)).at_most(30.0));
            rows.push(ms("first_write_after_ready_worst", samples.worst()));
        }
        rows
    }
}

/// One file of rows per case, so that each tells how many runs it is made of.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes the rows of a case to the figures of the suite and prints them.
pub fn write(part: &str, runs: Runs, rows: Vec<Row>) {
    let mut figures = Figures::part("postgres", part, runs.seed, runs.count);
    rows.into_iter().for_each(|row| figures.add(row));
    println!("{figures}");
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    figures.write().unwrap();
}
