//! The one background task that runs all checks.
//!
//! Each check runs at most once at a time, in a task of its own, so that one that panics or never returns harms no
//! other. The limit of a run is kept here and not in that task: a check that blocks its thread is still found late.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use super::check::Status;
use super::hysteresis::Health;
use super::registry::{Entry, Registry};
use crate::metrics::{Gauge, Histogram, Metrics};
use crate::tasks::Tasks;

/// Nothing is due: look again after this long, in case there are no checks at all.
const IDLE: Duration = Duration::from_secs(60);

/// Upper bounds in seconds; a healthy check takes about a millisecond, its default limit is one second.
const DURATION_BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Registry {
    /// Runs the registered checks in the background until `tasks` are stopped. Call it, or
    /// [`schedule`](Self::schedule), once per service.
    ///
    /// Must be called within a tokio runtime. A new check first runs at once, then each period ± 10 %.
    pub fn run(&self, tasks: &Tasks, metrics: &Metrics) {
        tasks.spawn("health", self.schedule(metrics, Handle::current()));
    }

    /// Runs the registered checks on `runtime` for as long as the returned future is polled, which may be elsewhere: a
    /// check that blocks every thread of its runtime is then still found late.
    ///
    /// Cancel-safety: dropping it aborts the runs under way.
    pub fn schedule(&self, metrics: &Metrics, runtime: Handle) -> impl Future<Output = ()> + Send + 'static {
        let scheduler = Scheduler {
            registry: self.clone(),
            slots: HashMap::new(),
            runs: JoinSet::new(),
            runtime,
            status: metrics.gauge(
                "hafnium.health.status",
                "{status}",
                "Health of a check: 1 up, 0.5 degraded, 0 down or not run yet",
            ),
            duration: metrics.histogram(
                "hafnium.health.check.duration",
                "s",
                "Duration of one run of a health check",
                &DURATION_BOUNDS,
            ),
        };
        scheduler.run()
    }
}

struct Scheduler {
    registry: Registry,
    slots: HashMap<u64, Slot>,
    runs: JoinSet<(u64, Status)>,
    /// Where the checks run.
    runtime: Handle,
    status: Gauge,
    duration: Histogram,
}

/// What the scheduler knows of one check.
struct Slot {
    entry: Arc<Entry>,
    due: Instant,
    run: Option<Run>,
    status: Gauge,
    duration: Histogram,
}

/// A run under way.
struct Run {
    begun: Instant,
    /// When it counts as failed (again).
    late: Instant,
    abort: AbortHandle,
    /// It was already recorded as failed; what it still says is not of interest.
    overdue: bool,
}

/// The period with ± 10 % of jitter, so that replicas do not ask a shared server in step. `random` is in 0..1.
fn jittered(period: Duration, random: f64) -> Duration {
    period.mul_f64(0.9 + 0.2 * random)
}

impl Scheduler {
    async fn run(mut self) {
        loop {
            self.follow_registry();
            let now = Instant::now();
            self.start_due(now);
            self.fail_late(now);
            let wake = self.next_wake(now);
            tokio::select! {
                Some(ended) = self.runs.join_next() => {
                    match ended {
                        Ok((id, status)) => self.finish(id, &status),
                        Err(error) => self.reap(&error),
                    }
                }
                () = self.registry.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Takes in new checks, which are due at once, and forgets removed ones.
    fn follow_registry(&mut self) {
        let entries = self.registry.entries();
        self.slots.retain(|id, slot| {
            let known = entries.iter().any(|entry| entry.id == *id);
            if let (false, Some(run)) = (known, &slot.run) {
                run.abort.abort();
            }
            known
        });
        for entry in entries {
            self.slots.entry(entry.id).or_insert_with(|| {
                let labels = [("check", entry.check.name.as_str())];
                let status = self.status.with(&labels);
                status.set(0.0);
                Slot {
                    due: Instant::now(),
                    run: None,
                    status,
                    duration: self.duration.with(&labels),
                    entry,
                }
            });
        }
    }

    fn start_due(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            if slot.run.is_some() || slot.due > now {
                continue;
            }
            let entry = slot.entry.clone();
            let run = async move {
                // The probe itself may panic before it has made a future.
                let run = AssertUnwindSafe(async { (entry.probe)().await }).catch_unwind();
                let status = run
                    .await
                    .unwrap_or_else(|_| Status::Down("the check panicked".to_owned()));
                (entry.id, status)
            };
            let abort = self.runs.spawn_on(run, &self.runtime);
            slot.run = Some(Run {
                begun: now,
                late: now + slot.entry.check.timeout,
                abort,
                overdue: false,
            });
        }
    }

    /// Records a failure for each run past its limit, once per period for one that can't even be aborted.
    fn fail_late(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            let Some(run) = slot.run.as_mut().filter(|run| run.late <= now) else {
                continue;
            };
            run.abort.abort();
            run.overdue = true;
            run.late = now + slot.entry.check.period;
            let took = now - run.begun;
            let reason = format!("no answer within {:?}", slot.entry.check.timeout);
            slot.record(&Status::Down(reason), took, now);
        }
    }

    fn finish(&mut self, id: u64, status: &Status) {
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Some(run) = slot.run.take() {
            slot.due = now + jittered(slot.entry.check.period, fastrand::f64());
            if !run.overdue {
                slot.record(status, now - run.begun, now);
            }
        }
    }

    /// Frees the slot of a run that was aborted, or that panicked where nothing catches it, such as in a destructor.
    fn reap(&mut self, error: &JoinError) {
        let ended = |slot: &&mut Slot| {
            let run = slot.run.as_ref();
            run.is_some_and(|run| run.abort.id() == error.id())
        };
        let Some(slot) = self.slots.values_mut().find(ended) else {
            return;
        };
        if let Some(run) = slot.run.take() {
            let now = Instant::now();
            slot.due = now + jittered(slot.entry.check.period, fastrand::f64());
            if error.is_panic() && !run.overdue {
                let panicked = Status::Down("the check panicked".to_owned());
                slot.record(&panicked, now - run.begun, now);
            }
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        self.slots
            .values()
            .map(|slot| slot.run.as_ref().map_or(slot.due, |run| run.late))
            .min()
            .unwrap_or(now + IDLE)
    }
}

impl Slot {
    fn record(&self, status: &Status, took: Duration, now: Instant) {
        self.duration.record(took.as_secs_f64());
        let changed = self.entry.observe(status, took, now);
        self.status.set(match self.entry.health() {
            Health::Up => 1.0,
            Health::Degraded => 0.5,
            Health::Down | Health::Unknown => 0.0,
        });
        let check = self.entry.check.name.as_str();
        match (changed, status) {
            (Some(Health::Up), _) => tracing::info!(check, "health check is up"),
            (Some(health), Status::Degraded(reason) | Status::Down(reason)) => {
                tracing::warn!(check, reason, "health check is {}", health.as_str());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_ten_percent() {
        let period = Duration::from_secs(10);
        assert_eq!(jittered(period, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(period, 0.5), period);
        assert!(jittered(period, 0.999_999) < Duration::from_secs(11));
    }
}
