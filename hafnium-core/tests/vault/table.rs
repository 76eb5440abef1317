//! The rows, how each is run, and the table of what came of it.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::ground::Ground;

type Run = Pin<Box<dyn Future<Output = String> + Send>>;

/// One promise, shown against the real server, the scripted peer, or both. What a run returns goes into the table.
pub(crate) struct Row {
    pub(crate) promise: &'static str,
    pub(crate) real: Option<fn(Arc<Ground>) -> Run>,
    pub(crate) peer: Option<fn() -> Run>,
}

/// `row!("promise", real: function, peer: function)`, either or both.
macro_rules! row {
    ($promise:literal, real: $real:path) => {
        row!(@ $promise, Some(|ground| Box::pin($real(ground))), None)
    };
    ($promise:literal, peer: $peer:path) => {
        row!(@ $promise, None, Some(|| Box::pin($peer())))
    };
    ($promise:literal, real: $real:path, peer: $peer:path) => {
        row!(@ $promise, Some(|ground| Box::pin($real(ground))), Some(|| Box::pin($peer())))
    };
    (@ $promise:literal, $real:expr, $peer:expr) => {
        $crate::table::Row { promise: $promise, real: $real, peer: $peer }
    };
}
pub(crate) use row;

/// What came of one run.
enum Outcome {
    Held(String),
    Failed(String),
    NotRun,
}

struct Line {
    promise: &'static str,
    against: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Rows at a time: they wait most of the time, and begin with logins that take a processor.
const AT_ONCE: usize = 16;

/// A row that hangs is a row that failed.
const LONGEST: Duration = Duration::from_secs(90);

/// Runs every row, sixteen at a time; prints the table; gives what failed and what was not run.
pub(crate) async fn run(rows: Vec<Row>, ground: Option<Arc<Ground>>) -> (Vec<String>, Vec<&'static str>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = Vec::new();
    for row in rows {
        let against = match (row.real.is_some(), row.peer.is_some()) {
            (true, true) => ("both: real", "both: peer"),
            _ => ("real", "peer"),
        };
        if let Some(real) = row.real {
            let run = ground.clone().map(real);
            running.push((
                row.promise,
                against.0,
                run.map(|run| tokio::spawn(timed(run, turns.clone()))),
            ));
        }
        if let Some(peer) = row.peer {
            running.push((
                row.promise,
                against.1,
                Some(tokio::spawn(timed(peer(), turns.clone()))),
            ));
        }
    }
    let mut lines = Vec::new();
    for (promise, against, run) in running {
        let (outcome, took) = match run {
            None => (Outcome::NotRun, Duration::ZERO),
            Some(run) => match run.await {
                Ok((Some(said), took)) => (Outcome::Held(said), took),
                Ok((None, took)) => (Outcome::Failed("took too long".to_owned()), took),
                Err(panic) => (Outcome::Failed(said(panic)), Duration::ZERO),
            },
        };
        lines.push(Line {
            promise,
            against,
            outcome,
            took,
        });
    }
    say(&print(&lines));
    let failed = |line: &Line| match &line.outcome {
        Outcome::Failed(why) => Some(format!("{} ({}): {why}", line.promise, line.against)),
        _ => None,
    };
    let not_run = |line: &Line| matches!(line.outcome, Outcome::NotRun).then_some(line.promise);
    (
        lines.iter().filter_map(failed).collect(),
        lines.iter().filter_map(not_run).collect(),
    )
}

/// To the terminal also when the test passes: what was not run must be seen.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    let _unseen = writeln!(std::io::stdout(), "{text}");
}

async fn timed(run: Run, turns: Arc<Semaphore>) -> (Option<String>, Duration) {
    let _turn = turns.acquire().await;
    let begun = Instant::now();
    let said = tokio::time::timeout(LONGEST, run).await.ok();
    (said, begun.elapsed())
}

fn said(panic: tokio::task::JoinError) -> String {
    match panic.try_into_panic().map(|panic| panic.downcast::<String>()) {
        Ok(Ok(text)) => text.replace('\n', " "),
        _ => "panicked".to_owned(),
    }
}

fn print(lines: &[Line]) -> String {
    let mut table = String::from("\nVault contract\n");
    for line in lines {
        let (verdict, said) = match &line.outcome {
            Outcome::Held(said) => ("held", said.as_str()),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
            Outcome::NotRun => ("not run", ""),
        };
        let secs = line.took.as_secs_f64();
        let _ = writeln!(
            table,
            "{:<84} {:<11} {verdict:<8} {secs:>5.1} s  {said}",
            line.promise, line.against
        );
    }
    table
}
