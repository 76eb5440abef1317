//! One line per second while the run lasts.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::generator::Sent;
use crate::replica::Replica;
use crate::results::Results;
use crate::rig::Rig;

/// Prints the lines, and remembers the counts of the second before.
pub(crate) struct Live {
    begun: Instant,
    acknowledged: u64,
    results: usize,
}

impl Live {
    pub(crate) fn new(begun: Instant) -> Self {
        Self { begun, acknowledged: 0, results: 0 }
    }

    /// A line of its own for what happens.
    pub(crate) fn say(&mut self, text: String) {
        println!("{:>5.1}s  >> {text}", self.begun.elapsed().as_secs_f64());
    }

    /// A line each second for that long.
    pub(crate) async fn watch(
        &mut self,
        time: Duration,
        rig: &Rig,
        sent: &Sent,
        results: &Results,
        replicas: &[&Replica],
    ) {
        let end = Instant::now() + time;
        let mut next = Instant::now() + Duration::from_secs(1);
        while next <= end {
            tokio::time::sleep_until(next.into()).await;
            next += Duration::from_secs(1);
            self.line(rig, sent, results, replicas).await;
        }
        tokio::time::sleep_until(end.into()).await;
    }

    async fn line(&mut self, rig: &Rig, sent: &Sent, results: &Results, replicas: &[&Replica]) {
        let roles = rig.roles().await;
        let mut readiness = String::new();
        for replica in replicas {
            let state = match replica.readiness().await {
                Some(200) => "ready".to_owned(),
                Some(status) => status.to_string(),
                None => "gone".to_owned(),
            };
            readiness.push_str(&format!("  {} {state}", replica.name));
        }
        let acknowledged = sent.acknowledged.load(Ordering::Relaxed);
        let came = results.distinct();
        println!(
            "{:>5.1}s  acknowledged {:>4}/s  results {:>4}/s  errors {}  {roles}{readiness}",
            self.begun.elapsed().as_secs_f64(),
            acknowledged - self.acknowledged,
            came - self.results,
            sent.errors.load(Ordering::Relaxed),
        );
        self.acknowledged = acknowledged;
        self.results = came;
    }
}
