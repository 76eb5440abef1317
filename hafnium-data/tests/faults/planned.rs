//! F4 and F5: the primary is stopped by its operator, who promotes another.

use hafnium_testkit::postgres::{StopMode, Synchronous};
use tokio::time::Instant;

use super::figures::Outcome;
use super::lost::proven;
use super::mix::Pace;
use super::trio::{AFTER, OPERATOR, READY, Times, Trio};

/// F4: stopped fast, another promoted a second later, restarted as a standby on the same port.
pub(crate) async fn restarted(synchronous: Synchronous, pace: Pace) -> Outcome {
    switched(StopMode::Fast, Some(()), synchronous, pace).await
}

/// F5: a switchover without a pause.
pub(crate) async fn switchover(mode: StopMode, synchronous: Synchronous, pace: Pace) -> Outcome {
    switched(mode, None, synchronous, pace).await
}

async fn switched(mode: StopMode, pause: Option<()>, synchronous: Synchronous, pace: Pace) -> Outcome {
    let trio = Trio::start(synchronous, &pace).await;
    let load = trio.load(pace).await;
    let old = trio.cluster.primary();
    let stopping = Instant::now();
    let (stopped, suspected) = tokio::join!(trio.cluster.stop(old, mode), trio.suspected(old));
    println!("{}", stopped.unwrap());
    let watch = trio.cluster.watch_readiness().unwrap();
    if pause.is_some() {
        tokio::time::sleep_until(stopping + OPERATOR).await;
    }
    let promotion = trio.cluster.promote_best().await.unwrap();
    let ready = proven(&trio, &promotion, watch.first_write(READY).await.unwrap());
    load.more(50).await;
    println!("{}", trio.cluster.rejoin_as_standby(old).await.unwrap());
    trio.known_as(old, "standby").await;
    load.more(50).await;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let mut times = Times::of_failover(synchronous, suspected, &ready);
    if mode == StopMode::Fast {
        // It sends all that was written to the standbys before it ends.
        times.promised_since = None;
    }
    trio.account(&report, &times).await
}
