//! The Postgres handle under every fault of its nodes and of the network between, with a referee that compares each
//! write with the tables. Real servers, one trio per run, unless the fault leaves it usable.
//!
//! `cargo test` runs each fault once per mode and asserts correctness; `HAFNIUM_FIGURES=1` runs many and measures.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod faults;

use faults::mix::Pace;
use faults::trio::Trio;
use hafnium_testkit::postgres::Synchronous;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fault_nothing_fails_and_the_mix_is_as_declared() {
    let trio = Trio::start(Synchronous::AnyOne, false).await;
    let load = trio.load(Pace::light(7)).await;
    load.more(100).await;
    let report = load.stop().await;
    let outcome = trio.account(&report, None).await;
    println!("{outcome:?}");
    assert_eq!((outcome.failed, outcome.doubled, outcome.stale_reads), (0, 0, 0));
}
