//! What a load came to, and its comparison with the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hafnium_core::Outcome;
use hafnium_testkit::Referee;
use hafnium_testkit::postgres::Session;
use hafnium_testkit::referee::Verdict;
use tokio::time::Instant;

use super::mix::{Kind, Pace};

/// A write of which the client was told: done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) id: u64,
    pub(crate) at: Instant,
    /// Of the server that did it.
    pub(crate) port: i32,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

/// What a load came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) pace: Pace,
    pub(crate) referee: Referee,
    pub(crate) requests: u64,
    /// From the arrival of a request to its answer.
    pub(crate) slowest: Duration,
    /// Requests that took longer than their deadline and 50 ms.
    pub(crate) past_deadline: u64,
    pub(crate) acks: Vec<Ack>,
    pub(crate) failures: Vec<Failure>,
}

/// The rows that servers hold: per id and port of the server that wrote it, how many.
pub(crate) type Rows = BTreeMap<(u64, i32), u64>;

impl Report {
    /// From `ready` to the first acknowledged write after it, in the referee's book.
    pub(crate) fn first_write_after(&self, ready: std::time::Instant) -> Option<Duration> {
        self.referee.first_acknowledged_after(ready)
    }

    pub(crate) fn unknown(&self) -> usize {
        let unknown = |failure: &&Failure| failure.outcome == Outcome::Unknown;
        self.failures.iter().filter(unknown).count()
    }

    /// Failed requests that began after `suspected`, when the client knew better.
    pub(crate) fn failed_late(&self, suspected: Instant) -> usize {
        let late = |failure: &&Failure| failure.begun > suspected;
        self.failures.iter().filter(late).count()
    }

    /// Writes acknowledged after `switch` by another server than the one at `port`.
    pub(crate) fn deposed_acknowledged(&self, switch: Instant, port: u16) -> usize {
        let wrong = |ack: &&Ack| ack.at > switch && ack.port != i32::from(port);
        self.acks.iter().filter(wrong).count()
    }

    /// The ids acknowledged by the server at `port`.
    pub(crate) fn acknowledged_by(&self, port: u16) -> BTreeSet<u64> {
        let by = self.acks.iter().filter(|ack| ack.port == i32::from(port));
        by.map(|ack| ack.id).collect()
    }

    /// The referee's verdict on what a server holds.
    pub(crate) fn verdict(&self, rows: &Rows) -> Verdict {
        self.referee
            .verdict(rows.iter().map(|((id, _), count)| (*id, *count)))
    }

    /// Failed requests by what was said of them, for people.
    pub(crate) fn failures_in_short(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for failure in &self.failures {
            let Failure {
                kind, outcome, code, ..
            } = failure;
            *counts.entry(format!("{kind:?} {outcome:?} {code}")).or_default() += 1;
        }
        counts
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// What the table of the load holds on a server.
pub(crate) async fn rows(session: &Session) -> Rows {
    let rows = session
        .query("SELECT id, port, count(*) FROM payments GROUP BY id, port", &[])
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                (row.get::<_, i64>(0) as u64, row.get(1)),
                row.get::<_, i64>(2) as u64,
            )
        })
        .collect()
}

/// The ids of transactions that are there by half.
pub(crate) async fn halves(session: &Session, pace: &Pace) -> BTreeSet<u64> {
    let pairs = session.query("SELECT id FROM pairs", &[]).await.unwrap();
    let pairs: BTreeSet<u64> = pairs.iter().map(|row| row.get::<_, i64>(0) as u64).collect();
    let payments: BTreeSet<u64> = rows(session)
        .await
        .into_keys()
        .map(|(id, _)| id)
        .filter(|id| pace.kind(*id) == Kind::Transaction)
        .collect();
    pairs.symmetric_difference(&payments).copied().collect()
}
