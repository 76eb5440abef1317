//! A closed loop of tasks over one pool for a window of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::peers::{Peer, Query};

/// What one window showed of one contender.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// Answers per second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
}

/// Ids of inserted rows, unique over all windows and contenders.
static NEXT: AtomicI64 = AtomicI64::new(0);

/// Loads `peer` with that many tasks, each asking again as soon as it was answered. `None` after any error or wrong
/// answer, which is printed.
pub(crate) async fn measure<P: Peer>(peer: &P, query: Query, tasks: usize, window: Duration) -> Option<Run> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| tokio::spawn(ask(peer.clone(), query, stop.clone())))
        .collect();
    tokio::time::sleep(window).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    let mut failure = None;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(taken) => latencies.add(taken).expect("the same kind"),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure {
        println!("a query failed: {error}");
        return None;
    }
    Some(Run {
        rate: latencies.len() as f64 / begun.elapsed().as_secs_f64(),
        p50: latencies.value_at_quantile(0.5) as f64 / 1000.0,
        p99: latencies.value_at_quantile(0.99) as f64 / 1000.0,
    })
}

/// Latencies in nanoseconds.
async fn ask<P: Peer>(peer: P, query: Query, stop: Arc<AtomicBool>) -> Result<Histogram<u64>, String> {
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    while !stop.load(Ordering::Relaxed) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        peer.ask(query, number).await?;
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        latencies.record(took.max(1)).expect("within bounds");
    }
    Ok(latencies)
}
