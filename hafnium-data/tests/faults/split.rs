//! F10: both standbys are promoted and take the same timeline.

use std::time::Duration;

use hafnium_testkit::postgres::Synchronous;
use tokio::time::Instant;

use super::figures::Outcome;
use super::mix::Pace;
use super::report::rows;
use super::trio::{AFTER, PATIENCE, Times, Trio};

/// Writes stop until one of the two is gone. What the losing node took before is counted apart.
pub(crate) async fn brain(synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::start(synchronous, &pace).await;
    let load = trio.load(pace).await;
    println!("{}", trio.cluster.kill9(0).await.unwrap());
    let (loser, winner) = (1, 2);
    println!("{}", trio.cluster.promote(loser).await.unwrap());
    // Some writes go there, which the split then takes back.
    load.more(5).await;
    println!("{}", trio.cluster.promote(winner).await.unwrap());
    assert_eq!(
        trio.timeline(loser).await,
        trio.timeline(winner).await,
        "the same timeline on both"
    );
    // The client sees it at its next probe of the second one.
    trio.known_as(loser, "primary").await;
    trio.known_as(winner, "primary").await;
    let end = Instant::now() + PATIENCE;
    while trio.postgres.nodes().iter().any(|node| node.in_use > 0) {
        assert!(Instant::now() < end, "{:?}", trio.postgres.nodes());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let split = Instant::now();
    let lost_with_it = rows(&trio.cluster.connect(loser, "ledger").await.unwrap()).await;
    println!("{}", trio.cluster.kill9(loser).await.unwrap());
    load.more(50).await;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let during = report
        .acks
        .iter()
        .filter(|ack| ack.at > stopped && ack.at < split);
    assert_eq!(
        during.count(),
        0,
        "writes were acknowledged while two servers said primary"
    );

    let port = trio.cluster.port(loser);
    let apart = report
        .acks
        .iter()
        .filter(|ack| ack.port == i32::from(port))
        .count();
    println!("{apart} writes were acknowledged by the node that lost");
    let kept = rows(&trio.cluster.connect(winner, "ledger").await.unwrap()).await;
    let by = |rows: &super::report::Rows, port: u16| -> Vec<u64> {
        rows.keys()
            .filter(|(_, at)| *at == i32::from(port))
            .map(|(id, _)| *id)
            .collect()
    };
    let (there, here) = (by(&lost_with_it, port), by(&kept, trio.cluster.port(winner)));
    let both = there.iter().filter(|id| here.contains(id)).count();
    let times = Times {
        // What either had acknowledged before is the old primary's, and the loser's is counted apart.
        promised_since: Some(split),
        ..Times::default()
    };
    let mut outcome = trio.account(&report, &times).await;
    outcome.doubled += both as u64;
    outcome
}
