//! F1, F2, F3 and F11: the primary is lost, and comes back or not.

use std::time::Duration;

use hafnium_testkit::postgres::{FirstWrite, Promotion, Synchronous};
use tokio::time::Instant;

use super::figures::Outcome;
use super::load::Load;
use super::mix::Pace;
use super::trio::{AFTER, OPERATOR, READY, Times, Trio};

/// How the primary is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// F1: kill -9 of every process.
    Killed,
    /// F2: kill -9 of the postmaster; the backends notice and leave.
    Postmaster,
}

/// F1 and F2: gone for good, an operator promotes the best standby.
pub(crate) async fn gone(loss: Loss, synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::start(synchronous, &pace).await;
    let load = trio.load(pace).await;
    let (suspected, ready) = lose(&trio, loss).await;
    end(&trio, load, synchronous, suspected, &ready).await
}

/// F11: as F1, and then the old primary is back with its old timeline.
pub(crate) async fn back_from_the_dead(synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::start(synchronous, &pace).await;
    let load = trio.load(pace).await;
    let old = trio.cluster.primary();
    let (suspected, ready) = lose(&trio, Loss::Killed).await;
    trio.cluster.start(old).await.unwrap();
    println!(
        "{} is back, it writes timeline {}",
        trio.cluster.name(old),
        trio.timeline(old).await
    );
    assert!(trio.timeline(old).await < trio.timeline(trio.cluster.primary()).await);
    trio.known_as(old, "deposed").await;
    load.more(100).await;
    end(&trio, load, synchronous, suspected, &ready).await
}

/// F3: frozen, a standby promoted, thawed after ten seconds. The other standby goes on following the old primary, so
/// that synchronous commits succeed there too.
pub(crate) async fn frozen(synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::start(synchronous, &pace).await;
    let load = trio.load(pace).await;
    let old = trio.cluster.primary();
    println!("{}", trio.cluster.freeze(old).unwrap());
    let frozen = Instant::now();
    let suspected = trio.suspected(old).await;
    println!("suspected {:?} after the freeze", suspected - frozen);
    let watch = trio.cluster.watch_readiness().unwrap();
    tokio::time::sleep_until(frozen + OPERATOR).await;
    let best = trio.cluster.best_standby().await.unwrap();
    let promotion = trio.cluster.promote(best).await.unwrap();
    let ready = proven(&trio, &promotion, watch.first_write(READY).await.unwrap());
    tokio::time::sleep(Duration::from_secs(10)).await;

    println!("{}", trio.cluster.thaw(old).await.unwrap());
    // The thawed node takes a synchronous write from whoever asks, so that only the client's fence stands between.
    let raw = trio.cluster.connect(old, "ledger").await.unwrap();
    let insert = raw.batch_execute("INSERT INTO pairs VALUES (-1)");
    tokio::time::timeout(Duration::from_secs(10), insert)
        .await
        .unwrap()
        .unwrap();
    println!(
        "a raw client wrote to {} on timeline {}",
        trio.cluster.name(old),
        trio.timeline(old).await
    );
    trio.known_as(old, "deposed").await;
    assert_eq!(
        trio.postgres.nodes()[old].in_use,
        0,
        "{:?}",
        trio.postgres.nodes()
    );
    load.more(100).await;
    let mut outcome = end(&trio, load, synchronous, suspected, &ready).await;
    outcome.suspected_after = Some(suspected - frozen);
    outcome
}

/// Kills the primary and promotes; when the client suspected it, and when any node accepted a write.
async fn lose(trio: &Trio, loss: Loss) -> (Instant, FirstWrite) {
    let old = trio.cluster.primary();
    let killed = match loss {
        Loss::Killed => trio.cluster.kill9(old).await,
        Loss::Postmaster => trio.cluster.kill9_postmaster(old).await,
    };
    println!("{}", killed.unwrap());
    let killed = Instant::now();
    let suspected = trio.suspected(old).await;
    let watch = trio.cluster.watch_readiness().unwrap();
    tokio::time::sleep_until(killed + OPERATOR).await;
    let promotion = trio.cluster.promote_best().await.unwrap();
    (
        suspected,
        proven(trio, &promotion, watch.first_write(READY).await.unwrap()),
    )
}

/// The referee saw the write on the node that was promoted.
pub(crate) fn proven(trio: &Trio, promotion: &Promotion, ready: FirstWrite) -> FirstWrite {
    println!(
        "{promotion}; the referee's write was taken by {} at probe {}",
        ready.node, ready.probes
    );
    assert_eq!(ready.node, trio.cluster.name(trio.cluster.primary()));
    ready
}

async fn end(
    trio: &Trio,
    load: Load,
    synchronous: Synchronous,
    suspected: Instant,
    ready: &FirstWrite,
) -> Outcome {
    load.more(50).await;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    trio.account(&report, &Times::of_failover(synchronous, suspected, ready))
        .await
}
