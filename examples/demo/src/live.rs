//! One line per second while the run lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

use crate::generator::Sent;
use crate::replica::Replica;
use crate::results::Results;
use crate::rig::Rig;

/// Prints the lines, and remembers the counts of the line before.
pub(crate) struct Live<'a> {
    rig: &'a Rig,
    sent: Arc<Sent>,
    results: &'a Results,
    begun: Instant,
    ticks: Interval,
    last: Instant,
    acknowledged: u64,
    came: usize,
}

impl<'a> Live<'a> {
    pub(crate) fn new(rig: &'a Rig, sent: Arc<Sent>, results: &'a Results) -> Self {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let mut ticks = tokio::time::interval_at((begun + second).into(), second);
        // A line that came late is not followed by two at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            rig,
            sent,
            results,
            begun,
            ticks,
            last: begun,
            acknowledged: 0,
            came: 0,
        }
    }

    /// When the run began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// A line of its own for what happens.
    pub(crate) fn say(&self, text: &str) {
        println!("{:>5.1}s  >> {text}", self.begun.elapsed().as_secs_f64());
    }

    /// A line each second for that long.
    pub(crate) async fn watch(&mut self, time: Duration, replicas: &[&Replica]) {
        self.during(tokio::time::sleep(time), replicas).await;
    }

    /// A line each second until `work` is done.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>, replicas: &[&Replica]) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.ticks.tick() => {}
            }
            // The work goes on while the nodes are asked for the line.
            tokio::select! {
                biased;
                done = &mut work => return done,
                asked = ask(self.rig, replicas) => self.line(&asked),
            }
        }
    }

    fn line(&mut self, asked: &str) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        let (acknowledged, came) = (
            self.sent.acknowledged.load(Ordering::Relaxed),
            self.results.distinct(),
        );
        let rate = |more: f64| (more / seconds).round();
        println!(
            "{:>5.1}s  acknowledged {:>4}/s  results {:>4}/s  errors {}  {asked}",
            self.begun.elapsed().as_secs_f64(),
            rate((acknowledged - self.acknowledged) as f64),
            rate((came - self.came) as f64),
            self.sent.errors.load(Ordering::Relaxed),
        );
        self.acknowledged = acknowledged;
        self.came = came;
    }
}

/// What every node and every replica says of itself.
async fn ask(rig: &Rig, replicas: &[&Replica]) -> String {
    let readiness = futures_util::future::join_all(replicas.iter().map(|replica| replica.readiness()));
    let (roles, readiness) = tokio::join!(rig.roles(), readiness);
    let mut line = roles;
    for (replica, status) in replicas.iter().zip(readiness) {
        let state = match status {
            Some(200) => "ready".to_owned(),
            Some(status) => status.to_string(),
            None => "gone".to_owned(),
        };
        line.push_str(&format!("  {} {state}", replica.name));
    }
    line
}
