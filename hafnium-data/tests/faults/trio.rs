//! A primary with two standbys, the handle under test on all three, and the end of a run: the account.

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
pub const POOL: u32 = 10;

/// How long the load runs before the fault, and how long after the recovery.
pub const BEFORE: Duration = Duration::from_millis(700);
pub const AFTER: Duration = Duration::from_millis(700);
/// Between the fault and the promotion: what a quick operator takes.
pub const OPERATOR: Duration = Duration::from_secs(1);

/// The short name of a mode, as in the case of a row.
pub fn mode(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::AnyOne => "sync",
        _ => "async",
    }
}

/// Three nodes, a handle with warm connections to each, and the tables of the load.
pub struct Trio {
    pub cluster: PostgresCluster,
    pub postgres: Postgres,
}

impl Trio {
    pub async fn start(synchronous: Synchronous, idempotent: bool) -> Trio {
        let cluster = PostgresCluster::builder()
            .standbys(2)
            .synchronous(synchronous)
            .start()
            .await
            .unwrap();
        let url = cluster.create_database("ledger").await.unwrap();
        let postgres = connect(&url).await;
        Load::prepare(&postgres, idempotent).await.unwrap();
        cluster.await_replay().await.unwrap();
        Trio { cluster, postgres }
    }

    /// Starts the load and lets it run in.
    pub async fn load(&self, pace: Pace) -> Load {
        let load = Load::start(&self.postgres, pace);
        load.more(20).await;
        tokio::time::sleep(BEFORE).await;
        load
    }

    /// Waits until the handle does not believe in `node` any more: from then on nothing may be begun there.
    pub async fn suspected(&self, node: usize) -> Instant {
        let end = Instant::now() + Duration::from_secs(5);
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

    /// Compares with what the primary holds, and says what the run came to. `ready` is when the referee saw the first
    /// accepted write after the fault.
    pub async fn account(&self, report: &Report, ready: Option<&FirstWrite>) -> Outcome {
        let primary = self.cluster.primary();
        let session = self.cluster.connect(primary, "ledger").await.unwrap();
        let verdict = report.verdict(&rows(&session).await);
        println!("{verdict}");
        println!(
            "{} requests, slowest {:?}, failed: {}",
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
        let port = self.cluster.port(primary);
        Outcome {
            lost_acknowledged: Some(verdict.lost.len() as u64),
            doubled: verdict.doubled.len() as u64,
            stale_reads: verdict.stale,
            deposed_acknowledged: ready
                .map(|ready| report.deposed_acknowledged(ready.at.into(), port) as u64),
            past_deadline: report.past_deadline,
            failed: report.failures.len() as u64,
            unknown: report.unknown() as u64,
            first_write_after_ready: ready.and_then(|ready| report.first_write_after(ready.at)),
        }
    }
}

/// A handle on every node of `url`, with its warm connections open.
pub async fn connect(url: &str) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = POOL;
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while postgres.nodes().iter().any(|node| node.idle < 2) {
        assert!(Instant::now() < end, "not warm: {:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    postgres
}
