//! Rows of figures from runs of one fault in one mode, and how many runs there shall be.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use hafnium_testkit::referee::{Figures, Row, Samples};

use super::mix::Pace;

/// How often a fault is made to happen, and from which seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub(crate) count: u32,
    pub(crate) seed: u64,
    /// Many runs on a machine that does nothing else, for percentiles; else one for correctness.
    pub(crate) measured: bool,
}

impl Runs {
    /// One in `cargo test`; `many` where `HAFNIUM_FIGURES` is set. `HAFNIUM_RUNS` and `HAFNIUM_SEED` win.
    pub(crate) fn wanted(many: u32) -> Runs {
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
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        let seed = self.seed;
        (0..u64::from(self.count)).map(move |run| seed + run)
    }
}

/// What one run came to. `None` where the fault does not define it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lost_acknowledged: Option<u64>,
    pub(crate) doubled: u64,
    pub(crate) stale_reads: u64,
    pub(crate) deposed_acknowledged: Option<u64>,
    pub(crate) past_deadline: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    /// Failed requests that began when the client knew better.
    pub(crate) failed_after_suspicion: Option<u64>,
    /// How long a node that fell silent was still believed in.
    pub(crate) suspected_after: Option<Duration>,
    pub(crate) first_write_after_ready: Option<Duration>,
}

/// What a run counted, where its fault defines it.
type Count = fn(&Outcome) -> Option<u64>;

/// The runs of one fault in one mode.
#[derive(Debug)]
pub(crate) struct Case {
    /// `F1 async`.
    pub(crate) name: String,
    /// The most requests of one run that may fail: the target.
    pub(crate) may_fail: u64,
    /// How many of them may miss the target without an error of the test, each typed *unknown*: where only the server
    /// could do better. The figure is a miss all the same.
    tolerated: u64,
    /// Whether the first acknowledged write is a figure of this fault.
    pub(crate) timed: bool,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, may_fail: u64) -> Case {
        Case {
            name: name.into(),
            may_fail,
            tolerated: may_fail,
            timed: false,
            outcomes: Vec::new(),
        }
    }

    pub(crate) fn tolerating(self, tolerated: u64) -> Case {
        Case { tolerated, ..self }
    }

    pub(crate) fn timed(self) -> Case {
        Case { timed: true, ..self }
    }

    /// Counts that must be none are summed over the runs, what is bounded per run is the worst run's. A case of which
    /// a run is missing has no values: not run.
    pub(crate) fn rows(&self, wanted: u32) -> Vec<Row> {
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
            row("unknown", worst(&|run| run.unknown), "requests").at_most(self.may_fail as f64),
            // What failed otherwise could have been repeated.
            row(
                "failed_not_unknown",
                sum(&|run| Some(run.failed - run.unknown)),
                "requests",
            )
            .exactly(0.0),
        ];
        let counted: [(&str, &str, Count); 3] = [
            ("failed_after_suspicion", "requests", |run| {
                run.failed_after_suspicion
            }),
            ("lost_acknowledged", "writes", |run| run.lost_acknowledged),
            ("deposed_acknowledged", "writes", |run| run.deposed_acknowledged),
        ];
        for (name, unit, of) in counted {
            if self.outcomes.is_empty() || self.outcomes.iter().any(|run| of(run).is_some()) {
                rows.push(row(name, sum(&of), unit).exactly(0.0));
            }
        }
        let silent = self.outcomes.iter().filter_map(|run| run.suspected_after).max();
        if let Some(longest) = silent {
            let longest = value(Some(longest.as_secs_f64() * 1000.0));
            rows.push(row("suspected_after_silence_worst", longest, "ms").at_most(700.0));
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

/// One test measures at a time.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Where times are measured, keeps every other test that asks waiting until it is dropped.
pub(crate) async fn alone() -> Option<tokio::sync::MutexGuard<'static, ()>> {
    if Runs::wanted(1).measured {
        Some(ONE.lock().await)
    } else {
        None
    }
}

/// Makes a fault happen as often as wanted, and writes the rows of its case as a part of the suite's figures.
///
/// # Panics
/// When a run failed, so that the case is not run, and when a row misses its target; but not for a time, because a busy
/// machine is no defect.
pub(crate) async fn suite<F>(mut case: Case, many: u32, run: impl Fn(Pace) -> F)
where
    F: Future<Output = Outcome>,
{
    let runs = Runs::wanted(many);
    let alone = alone().await;
    let mut ended_early = 0;
    for seed in runs.seeds() {
        println!("{}, seed {seed}", case.name);
        let pace = if runs.measured {
            Pace::full(seed)
        } else {
            Pace::light(seed)
        };
        // A run that ends early leaves its case as not run, and the others their turn.
        match AssertUnwindSafe(run(pace)).catch_unwind().await {
            Ok(outcome) => {
                println!("{}, seed {seed}: {outcome:?}", case.name);
                case.outcomes.push(outcome);
            }
            Err(_printed) => ended_early += 1,
        }
    }
    drop(alone);
    let rows = case.rows(runs.count);
    let is_time = |row: &Row| row.unit == "ms" && row.value.is_some();
    let is_tolerated = |row: &Row| {
        let counted = row.name == "failed" || row.name == "unknown";
        counted && row.value.is_some_and(|value| value <= case.tolerated as f64)
    };
    let missed: Vec<Row> = rows
        .iter()
        .filter(|row| !row.pass && !is_time(row) && !is_tolerated(row))
        .cloned()
        .collect();
    write(&case.name, runs, rows);
    assert_eq!(ended_early, 0, "{}: runs that came to nothing", case.name);
    assert!(missed.is_empty(), "{}: {missed:?}", case.name);
}

/// Writes rows as a part of the suite's figures and prints them. A part per case, so that each tells how many runs it is
/// made of.
pub(crate) fn write(part: &str, runs: Runs, rows: Vec<Row>) {
    let mut figures = Figures::part("postgres", part, runs.seed, runs.count);
    rows.into_iter().for_each(|row| figures.add(row));
    println!("{figures}");
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    figures.write().unwrap();
}
