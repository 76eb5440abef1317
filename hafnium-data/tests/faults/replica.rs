//! F6: a standby receives and does not replay.

use std::time::Duration;

use hafnium_testkit::postgres::Synchronous;
use tokio::time::Instant;

use super::figures::Outcome;
use super::mix::Pace;
use super::trio::{AFTER, PATIENCE, Times, Trio};

/// The replay of one standby is paused for longer than a reader tolerates: it is left, and taken again afterwards.
pub(crate) async fn paused(synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::lagging(synchronous, &pace, Duration::from_secs(1)).await;
    let load = trio.load(pace).await;
    println!("{}", trio.cluster.pause_replay(1).await.unwrap());
    read_by(&trio, false).await;
    println!("left with a lag of {:?}", trio.postgres.nodes()[1].lag);
    tokio::time::sleep(AFTER).await;
    println!("{}", trio.cluster.resume_replay(1).await.unwrap());
    read_by(&trio, true).await;
    let report = load.stop().await;
    trio.account(&report, &Times::default()).await
}

/// Waits until readers do, or do not, get answers of the second node.
async fn read_by(trio: &Trio, wanted: bool) {
    let port = i32::from(trio.cluster.port(1));
    let end = Instant::now() + PATIENCE;
    loop {
        let mut seen = false;
        for _ in 0..20 {
            let by: i32 = sqlx::query_scalar("SELECT inet_server_port()")
                .fetch_one(&trio.postgres.reader())
                .await
                .unwrap();
            seen |= by == port;
        }
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < end, "read: {seen}, {:?}", trio.postgres.nodes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
