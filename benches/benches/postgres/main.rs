//! The Postgres client against what a user would pick instead: `sqlx::PgPool` with its defaults and tuned, and
//! `deadpool-postgres`; each with 8 connections, over loopback to one real server, all in one process.
//!
//! * `throughput_ratio`, `p99_ratio` per peer, query and number of tasks: ours divided by the peer's. Each round
//!   measures all four, one after the other, in a turning order; a ratio is the median over the rounds, and the interval
//!   printed is that of their middle half.
//! * The queries: `SELECT $1`, a read by primary key of a table of a million rows, an insert of one row.
//! * The same ratios with TLS to a host that is a name, whose connections we carry, against TLS to the address and against
//!   `sqlx::PgPool` with TLS: what following a name costs.
//!
//! The targets hold at 64 tasks; the other numbers of tasks are for information. A peer that fails is `n/a`, never a win.
//! Without `--bench` (as `cargo test` runs it) one short round shows that all answer. With a name behind `--bench`, such as
//! `"SELECT $1, 64 tasks"`, only the cases that begin so are measured, and no figures are written.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

mod load;
mod peers;
mod tls;

use std::time::Duration;

use benches::Ratio;
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::referee::{Figures, Row};

use load::{Run, measure};
use peers::{Peers, Query};

const CONNECTIONS: u32 = 8;
const TASKS: [usize; 4] = [1, 8, 64, 512];
/// The number of tasks that the targets are for.
const JUDGED: usize = 64;

/// How much is measured.
struct Effort {
    /// Rows of the table that is read from.
    rows: i64,
    rounds: usize,
    window: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    let effort = if measuring {
        Effort {
            rows: 1_000_000,
            rounds: 9,
            window: Duration::from_millis(600),
        }
    } else {
        Effort {
            rows: 10_000,
            rounds: 1,
            window: Duration::from_millis(50),
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let figures = runtime.block_on(compare(&effort, wanted.map(String::as_str)));
    println!("{figures}");
    if measuring && wanted.is_none() {
        figures.write().expect("target/figures can be written");
    }
}

async fn compare(effort: &Effort, wanted: Option<&str>) -> Figures {
    let cluster = PostgresCluster::single().await.expect("a server");
    let url = cluster.create_database("ledger").await.expect("a database");
    let peers = Peers::connect(&url, CONNECTIONS, effort.rows).await;
    let rounds = u32::try_from(effort.rounds).unwrap_or(u32::MAX);
    let mut figures = Figures::part("postgres", "bench", 0, rounds);
    for query in Query::ALL {
        for tasks in TASKS {
            let case = format!("{}, {tasks} tasks", query.name());
            if wanted.is_none_or(|wanted| case.starts_with(wanted)) {
                let runs = runs(&peers, query, tasks, effort).await;
                report(&mut figures, &case, tasks, &runs);
            }
        }
    }
    drop(peers);
    tls::compare(&cluster, effort, wanted, &mut figures).await;
    figures
}

/// What each round showed of each contender, in the order of [`peers::NAMES`].
async fn runs(peers: &Peers, query: Query, tasks: usize, effort: &Effort) -> Vec<[Option<Run>; 4]> {
    let mut rounds = Vec::new();
    for round in 0..effort.rounds {
        let mut runs = [None; 4];
        for turn in 0..runs.len() {
            // The order turns, so that a drift of the machine favours none.
            let index = (turn + round) % runs.len();
            runs[index] = match index {
                0 => measure(&peers.ours, query, tasks, effort.window).await,
                1 => measure(&peers.defaults, query, tasks, effort.window).await,
                2 => measure(&peers.tuned, query, tasks, effort.window).await,
                _ => measure(&peers.deadpool, query, tasks, effort.window).await,
            };
        }
        rounds.push(runs);
    }
    rounds
}

/// `None` when a round has no number: then there is no ratio.
fn all(rounds: impl Iterator<Item = Option<f64>>) -> Option<Ratio> {
    rounds.collect::<Option<Vec<_>>>().map(Ratio::of)
}

fn report(figures: &mut Figures, case: &str, tasks: usize, rounds: &[[Option<Run>; 4]]) {
    println!("{case}");
    for (index, name) in peers::NAMES.iter().enumerate() {
        let of = |part: fn(&Run) -> f64| all(rounds.iter().map(|runs| runs[index].as_ref().map(part)));
        match (of(|run| run.rate), of(|run| run.p50), of(|run| run.p99)) {
            (Some(rate), Some(p50), Some(p99)) => println!(
                "  {name:<38} {:>8.0}/s  p50 {:>6.0} us  p99 {:>6.0} us",
                rate.median, p50.median, p99.median
            ),
            _ => println!("  {name:<38} n/a"),
        }
        if index == 0 {
            continue;
        }
        let ratio = |part: fn(&Run) -> f64| {
            let ratios = rounds.iter().map(|runs| match (&runs[0], &runs[index]) {
                (Some(ours), Some(theirs)) => Some(part(ours) / part(theirs)),
                _ => None,
            });
            all(ratios)
        };
        let (throughput, p99) = (ratio(|run| run.rate), ratio(|run| run.p99));
        let (least, most) = peers::TARGETS[index];
        for (figure, ratio, at_least) in [("throughput_ratio", throughput, true), ("p99_ratio", p99, false)] {
            if let Some(ratio) = &ratio {
                println!("    {figure} {ratio}");
            }
            let case = format!("{case}, {name}");
            let row = match ratio {
                Some(ratio) => ratio.row(figure, case),
                None => Row::new(figure, case, None, "ratio"),
            };
            let row = match (tasks == JUDGED, at_least) {
                (true, true) => row.at_least(least),
                (true, false) => row.at_most(most),
                (false, _) => row,
            };
            figures.add(row.against(*name));
        }
    }
}
