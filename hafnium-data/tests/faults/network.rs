//! F7 and F9: the network between goes silent, or loses the reply to a COMMIT.

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::Outcome as Said;
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use tokio::time::Instant;

use super::figures::Outcome;
use super::lost::proven;
use super::mix::Pace;
use super::report::rows;
use super::trio::{AFTER, OPERATOR, PATIENCE, READY, Times, Trio};

/// F7: the primary vanishes behind a path that swallows everything, and no reset ever tells. Its machine is gone too:
/// an operator promotes.
pub(crate) async fn black_hole(synchronous: Synchronous, pace: Pace) -> Outcome {
    let (trio, proxy) = behind_proxy(synchronous, &pace).await;
    let load = trio.load(pace).await;
    let before = proxy.counters();
    proxy.black_hole();
    let silent = Instant::now();
    let suspected = trio.suspected(0).await;
    println!("suspected {:?} after the silence", suspected - silent);
    println!("{}", trio.cluster.kill9(0).await.unwrap());
    let watch = trio.cluster.watch_readiness().unwrap();
    tokio::time::sleep_until(silent + OPERATOR).await;
    let promotion = trio.cluster.promote_best().await.unwrap();
    let ready = proven(&trio, &promotion, watch.first_write(READY).await.unwrap());
    load.more(50).await;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let after = proxy.counters();
    println!("{after}");
    assert!(
        after.swallowed_requests > before.swallowed_requests,
        "nothing was swallowed"
    );
    assert_eq!(after.resets, before.resets, "a reset told");
    let mut times = Times::of_failover(synchronous, suspected, &ready);
    times.silent_for = Some(suspected - silent);
    trio.account(&report, &times).await
}

/// How often F9 cuts.
pub(crate) const CUTS: u64 = 5;

/// F9: the server commits, the client never hears of it.
pub(crate) async fn commit_cut(synchronous: Synchronous, pace: Pace) -> Outcome {
    let (trio, proxy) = behind_proxy(synchronous, &pace).await;
    let load = trio.load(pace).await;
    for cut in 1..=CUTS {
        proxy.swallow_reply_to("COMMIT");
        let end = Instant::now() + PATIENCE;
        while proxy.counters().resets < cut {
            assert!(Instant::now() < end, "no COMMIT came by: {}", proxy.counters());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        load.more(20).await;
    }
    println!("{}", proxy.counters());
    assert!(proxy.counters().swallowed_replies > 0);
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    assert_eq!(
        report.unknown() as u64,
        CUTS,
        "each cut leaves one outcome unknown"
    );
    let session = trio.cluster.connect(0, "ledger").await.unwrap();
    let rows = rows(&session).await;
    let unknown = report
        .failures
        .iter()
        .filter(|failure| failure.outcome == Said::Unknown);
    for failure in unknown {
        let there = rows.keys().any(|(id, _)| *id == failure.number);
        assert!(
            there,
            "it was committed before the reply was swallowed: {failure:?}"
        );
    }
    trio.account(&report, &Times::default()).await
}

/// The first primary is reached through a proxy.
async fn behind_proxy(synchronous: Synchronous, pace: &Pace) -> (Trio, Proxy) {
    let mut proxy = None;
    let trio = Trio::reached(synchronous, pace, |cluster: &PostgresCluster, url| {
        let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
        let between = proxy.insert(Proxy::start(server).unwrap());
        url.replace(&server.to_string(), &between.address().to_string())
    })
    .await;
    (trio, proxy.unwrap())
}
