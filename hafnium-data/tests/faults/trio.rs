//! A primary with two standbys, the handle under test on all three, and the end of a run: the account.

use std::collections::BTreeSet;
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::postgres::{FirstWrite, PostgresCluster, Synchronous};
use tokio::time::Instant;

use super::figures::Outcome;
use super::load::Load;
use super::mix::Pace;
use super::report::{Report, halves, rows};

/// Connections per node, so at most as many requests are under way on a node that fails.
pub(crate) const POOL: u32 = 10;

/// How long the load runs before the fault, and how long after the recovery.
pub(crate) const BEFORE: Duration = Duration::from_millis(700);
pub(crate) const AFTER: Duration = Duration::from_millis(700);
/// For what takes a moment, on a machine that does many other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The referee's answer is there when a promotion has returned.
pub(crate) const READY: Duration = Duration::from_secs(5);
/// Between the fault and the promotion: what a quick operator takes.
pub(crate) const OPERATOR: Duration = Duration::from_secs(1);

/// The default.
const MAX_LAG: Duration = Duration::from_secs(10);

/// The short name of a mode, as in the case of a row.
pub(crate) fn mode(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::AnyOne => "sync",
        _ => "async",
    }
}

/// Three nodes, a handle with warm connections to each, and the tables of the load.
pub(crate) struct Trio {
    pub(crate) cluster: PostgresCluster,
    pub(crate) postgres: Postgres,
}

impl Trio {
    pub(crate) async fn start(synchronous: Synchronous, pace: &Pace) -> Trio {
        Trio::reached(synchronous, pace, |_, url| url).await
    }

    /// The handle reaches the nodes by what `by` makes of their URL.
    pub(crate) async fn reached(
        synchronous: Synchronous,
        pace: &Pace,
        by: impl FnOnce(&PostgresCluster, String) -> String,
    ) -> Trio {
        let cluster = PostgresCluster::builder()
            .standbys(2)
            .synchronous(synchronous)
            .start()
            .await
            .unwrap();
        let url = cluster.create_database("ledger").await.unwrap();
        let postgres = connect(&by(&cluster, url), pace.deadline, MAX_LAG).await;
        Load::prepare(&postgres, pace.writes).await.unwrap();
        cluster.await_replay().await.unwrap();
        Trio { cluster, postgres }
    }

    /// The handle reads from replicas that are at most `max_lag` behind.
    pub(crate) async fn lagging(synchronous: Synchronous, pace: &Pace, max_lag: Duration) -> Trio {
        let trio = Trio::start(synchronous, pace).await;
        let postgres = connect(&trio.cluster.url("ledger"), pace.deadline, max_lag).await;
        Trio { postgres, ..trio }
    }

    /// The timeline that a primary writes, asked by a raw driver.
    pub(crate) async fn timeline(&self, node: usize) -> String {
        let session = self.cluster.connect(node, "postgres").await.unwrap();
        let written = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
        session.query_one(written, &[]).await.unwrap().get(0)
    }

    /// Waits until the handle shows a node in `role`.
    pub(crate) async fn known_as(&self, node: usize, role: &str) {
        let end = Instant::now() + PATIENCE;
        while self.postgres.nodes()[node].role != role || self.postgres.nodes()[node].state != "up" {
            assert!(
                Instant::now() < end,
                "not known as {role}: {:?}",
                self.postgres.nodes()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts the load and lets it run in.
    pub(crate) async fn load(&self, pace: Pace) -> Load {
        let load = Load::start(&self.postgres, pace);
        load.more(20).await;
        tokio::time::sleep(BEFORE).await;
        load
    }

    /// Waits until the handle does not believe in `node` any more: from then on nothing may be begun there.
    pub(crate) async fn suspected(&self, node: usize) -> Instant {
        let end = Instant::now() + PATIENCE;
        while self.postgres.nodes()[node].state == "up" {
            assert!(
                Instant::now() < end,
                "never suspected: {:?}",
                self.postgres.nodes()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    }

    /// Compares with what the primary holds, and says what the run came to.
    pub(crate) async fn account(&self, report: &Report, times: &Times) -> Outcome {
        let primary = self.cluster.primary();
        let session = self.cluster.connect(primary, "ledger").await.unwrap();
        let verdict = report.verdict(&rows(&session).await);
        println!(
            "{verdict}{} requests, slowest {:?}, failed: {}",
            report.requests,
            report.slowest,
            report.failures_in_short()
        );
        assert!(
            verdict.denied.is_empty(),
            "said to be without effect, yet applied: {:?}",
            verdict.denied
        );
        assert!(
            verdict.strange.is_empty(),
            "never attempted: {:?}",
            verdict.strange
        );
        let halves = halves(&session, &report.pace).await;
        assert!(halves.is_empty(), "transactions by half: {halves:?}");
        let lost: BTreeSet<u64> = verdict.lost.iter().copied().collect();
        let lost = report
            .acks
            .iter()
            .filter(|ack| lost.contains(&ack.id) && times.promised_since.is_none_or(|since| ack.at > since));
        let port = self.cluster.port(primary);
        Outcome {
            lost_acknowledged: Some(lost.count() as u64),
            doubled: verdict.doubled.len() as u64,
            stale_reads: verdict.stale,
            deposed_acknowledged: times
                .ready
                .map(|ready| report.deposed_acknowledged(ready.into(), port) as u64),
            past_deadline: report.past_deadline,
            failed: report.failures.len() as u64,
            unknown: report.unknown() as u64,
            failed_after_suspicion: times.suspected.map(|at| report.failed_late(at) as u64),
            suspected_after: times.silent_for,
            first_write_after_ready: times.ready.and_then(|ready| report.first_write_after(ready)),
        }
    }
}

/// The instants of a run that its account needs; `None` where the fault has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// When the client first did not believe in the failed node any more.
    pub(crate) suspected: Option<Instant>,
    /// How long that took, where the node fell silent without a word.
    pub(crate) silent_for: Option<Duration>,
    /// When the referee saw the first accepted write after the fault.
    pub(crate) ready: Option<std::time::Instant>,
    /// Since when an acknowledged write must not be lost, if not always: asynchronous replication promises nothing of
    /// the writes before a switch.
    pub(crate) promised_since: Option<Instant>,
}

impl Times {
    pub(crate) fn of_failover(synchronous: Synchronous, suspected: Instant, ready: &FirstWrite) -> Times {
        Times {
            suspected: Some(suspected),
            silent_for: None,
            ready: Some(ready.at),
            promised_since: (synchronous == Synchronous::Off).then(|| ready.at.into()),
        }
    }
}

/// A handle on every node of `url`, with its warm connections open.
pub(crate) async fn connect(url: &str, timeout: Duration, max_lag: Duration) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = POOL;
    settings.timeout = timeout.into();
    settings.max_lag = max_lag.into();
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    warm(&postgres).await;
    postgres
}

/// Waits until the handle has two free connections to each node.
pub(crate) async fn warm(postgres: &Postgres) {
    let end = Instant::now() + PATIENCE;
    while postgres.nodes().iter().any(|node| node.idle < 2) {
        assert!(Instant::now() < end, "not warm: {:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
