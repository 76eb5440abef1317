//! The Postgres handle under every fault of its nodes and of the network between, with a referee that compares each
//! write with the tables. Real servers, a trio per run.
//!
//! `cargo test` makes each fault happen once per mode and asserts correctness; with `HAFNIUM_FIGURES=1` many times, one
//! after the other, and the first acknowledged write is measured. F8 (credentials) and F12 (a moving name) have suites
//! of their own.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod faults;

use std::time::Duration;

use faults::figures::{Case, alone, suite};
use faults::lost::{self, Loss};
use faults::mix::Pace;
use faults::mix::Writes::{ExactlyOnce, Idempotent};
use faults::network::{self, CUTS};
use faults::trio::{POOL, Times, Trio};
use faults::{planned, replica, split, trio};
use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::PostgresCluster;
use hafnium_testkit::postgres::StopMode;
use hafnium_testkit::postgres::Synchronous::{AnyOne, Off};

/// Runs of a fault whose times are figures, and of the others.
const MANY: u32 = 20;
const FEW: u32 = 3;
/// At most the connections that the pool held to the failed node.
const HELD: u64 = POOL as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fault_nothing_fails() {
    let _alone = alone().await;
    let pace = Pace::light(7);
    let trio = Trio::start(AnyOne, &pace).await;
    let load = trio.load(pace).await;
    load.more(100).await;
    let report = load.stop().await;
    let outcome = trio.account(&report, &Times::default()).await;
    let bad = (
        outcome.failed,
        outcome.lost_acknowledged,
        outcome.doubled,
        outcome.stale_reads,
    );
    assert_eq!(bad, (0, Some(0), 0, 0));
}

/// When the connection that does it was opened, by the server's clock.
const OPENED: &str = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_takes_writes_on_the_connections_it_had() {
    let _alone = alone().await;
    let pace = Pace::light(7);
    let trio = Trio::start(Off, &pace).await;
    let standby = trio.cluster.connect(1, "ledger").await.unwrap();
    println!("{}", trio.cluster.kill9(0).await.unwrap());
    // Or the write is sent to the old primary still, and its outcome is unknown.
    trio.suspected(0).await;
    let before = standby
        .query_one("SELECT clock_timestamp()::text", &[])
        .await
        .unwrap();
    println!("{}", trio.cluster.promote(1).await.unwrap());
    let insert = format!("INSERT INTO payments (id) VALUES (1) RETURNING port, ({OPENED})::text");
    let (inserted, opened): (i32, String) = sqlx::query_as(sqlx::AssertSqlSafe(insert))
        .fetch_one(&trio.postgres)
        .await
        .unwrap();
    assert_eq!(inserted, i32::from(trio.cluster.port(1)));
    let before: String = before.get(0);
    assert!(opened < before, "opened {opened}, promoted after {before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm_connections_that_could_not_be_opened_are_opened_later() {
    let _alone = alone().await;
    let cluster = PostgresCluster::single().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let session = cluster.connect(0, "postgres").await.unwrap();
    // The probe's own is the only one.
    session
        .batch_execute("ALTER DATABASE ledger CONNECTION LIMIT 1")
        .await
        .unwrap();
    let settings = PostgresSettings::new(Secret::new(url));
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(postgres.nodes()[0].idle, 0, "{:?}", postgres.nodes());
    session
        .batch_execute("ALTER DATABASE ledger CONNECTION LIMIT -1")
        .await
        .unwrap();
    trio::warm(&postgres).await;
}

/// A commit that waits for a synchronous standby when its server is stopped is ended by a warning ("committed locally,
/// but might not have been replicated") and EOF: nobody can say whether the promoted one has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_fast_sync() {
    let case = Case::new("F5 fast sync", 0).timed().tolerating(HELD);
    suite(case, MANY, |pace| {
        planned::switchover(StopMode::Fast, AnyOne, pace)
    })
    .await;
}

/// An immediate stop is a crash by its operator's will: what is under way ends by EOF.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_immediate_async() {
    let case = Case::new("F5 immediate async", 0).timed().tolerating(HELD);
    suite(case, MANY, |pace| {
        planned::switchover(StopMode::Immediate, Off, pace)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_immediate_sync() {
    let case = Case::new("F5 immediate sync", 0).timed().tolerating(HELD);
    suite(case, MANY, |pace| {
        planned::switchover(StopMode::Immediate, AnyOne, pace)
    })
    .await;
}

macro_rules! faults {
    ($($test:ident: $name:literal, $may_fail:expr, $timed:ident, $run:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let case = Case::new($name, $may_fail);
            let (case, many) = faults!(@ $timed, case);
            suite(case, many, $run).await;
        })*
    };
    (@ timed, $case:ident) => { ($case.timed(), MANY) };
    (@ untimed, $case:ident) => { ($case, FEW) };
}

faults! {
    f1_async: "F1 async", HELD, timed, |pace| lost::gone(Loss::Killed, Off, pace);
    f1_sync: "F1 sync", HELD, timed, |pace| lost::gone(Loss::Killed, AnyOne, pace);
    f1_sync_idempotent: "F1 sync idempotent", 0, untimed,
        |pace| lost::gone(Loss::Killed, AnyOne, Pace { writes: Idempotent, ..pace });
    f1_sync_exactly_once: "F1 sync exactly_once", 0, untimed,
        |pace| lost::gone(Loss::Killed, AnyOne, Pace { writes: ExactlyOnce, ..pace });
    f2_async: "F2 async", HELD, timed, |pace| lost::gone(Loss::Postmaster, Off, pace);
    f2_sync: "F2 sync", HELD, timed, |pace| lost::gone(Loss::Postmaster, AnyOne, pace);
    f2_sync_idempotent: "F2 sync idempotent", 0, untimed,
        |pace| lost::gone(Loss::Postmaster, AnyOne, Pace { writes: Idempotent, ..pace });
    f3_async: "F3 async", HELD, timed, |pace| lost::frozen(Off, pace);
    f3_sync: "F3 sync", HELD, timed, |pace| lost::frozen(AnyOne, pace);
    f3_sync_exactly_once: "F3 sync exactly_once", 0, untimed,
        |pace| lost::frozen(AnyOne, Pace { writes: ExactlyOnce, ..pace });
    f4_async: "F4 async", HELD, timed, |pace| planned::restarted(Off, pace);
    f4_sync: "F4 sync", HELD, timed, |pace| planned::restarted(AnyOne, pace);
    f4_sync_idempotent: "F4 sync idempotent", 0, untimed,
        |pace| planned::restarted(AnyOne, Pace { writes: Idempotent, ..pace });
    f5_fast_async: "F5 fast async", 0, timed, |pace| planned::switchover(StopMode::Fast, Off, pace);
    f6_async: "F6 async", 0, untimed, |pace| replica::paused(Off, pace);
    f6_sync: "F6 sync", 0, untimed, |pace| replica::paused(AnyOne, pace);
    f7_async: "F7 async", HELD, untimed, |pace| network::black_hole(Off, pace);
    f7_sync: "F7 sync", HELD, untimed, |pace| network::black_hole(AnyOne, pace);
    f9_async: "F9 async", CUTS, untimed, |pace| network::commit_cut(Off, pace);
    f9_sync: "F9 sync", CUTS, untimed, |pace| network::commit_cut(AnyOne, pace);
    f10_async: "F10 async", HELD, untimed, |pace| split::brain(Off, pace);
    f10_sync: "F10 sync", HELD, untimed, |pace| split::brain(AnyOne, pace);
    f11_async: "F11 async", HELD, untimed, |pace| lost::back_from_the_dead(Off, pace);
    f11_sync: "F11 sync", HELD, untimed, |pace| lost::back_from_the_dead(AnyOne, pace);
}
