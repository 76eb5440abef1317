//! What is seen of tasks from outside: metrics per name, and a health check for each one that is run again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::health::{Check, Registration, Registry, Status};
use crate::metrics::{Counter, Metrics, UpDown};

/// Where tasks report to.
#[derive(Clone)]
pub(super) struct Observers {
    registry: Option<Registry>,
    running: UpDown,
    runs: Counter,
    failures: Counter,
    restarts: Counter,
    skipped: Counter,
}

impl Observers {
    pub(super) fn new(registry: Option<Registry>, metrics: &Metrics) -> Self {
        Self {
            registry,
            running: metrics.up_down(
                "hafnium.task.running",
                "{task}",
                "Background tasks of that name that exist",
            ),
            runs: metrics.counter(
                "hafnium.task.runs",
                "{run}",
                "Runs of a background task that ended, however",
            ),
            failures: metrics.counter(
                "hafnium.task.failures",
                "{run}",
                "Runs of a background task that failed, by cause: panic, error, timeout",
            ),
            restarts: metrics.counter(
                "hafnium.task.restarts",
                "{restart}",
                "Times a background task was run again by its restart policy",
            ),
            skipped: metrics.counter(
                "hafnium.task.skipped",
                "{tick}",
                "Ticks of a periodic task that passed while a run was under way",
            ),
        }
    }

    /// The observer of the task `name`.
    pub(super) fn of(&self, name: &str) -> Observer {
        let task = [("task", name)];
        let cause = |cause| self.failures.with(&[("task", name), ("cause", cause)]);
        let running = self.running.with(&task);
        running.add(1);
        Observer {
            running,
            runs: self.runs.with(&task),
            panics: cause("panic"),
            errors: cause("error"),
            timeouts: cause("timeout"),
            restarts: self.restarts.with(&task),
            skipped: self.skipped.with(&task),
        }
    }

    /// A check `task.<name>` that is degraded while the task fails; it never counts for readiness.
    pub(super) fn check(&self, name: &str, condition: &Condition) -> Option<Registration> {
        let condition = condition.clone();
        let check = Check::own(format!("task.{name}")).informational();
        let registry = self.registry.as_ref()?;
        Some(registry.register(check, move || {
            std::future::ready(condition.status(Instant::now()))
        }))
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Panic(String),
    Error(String),
    Timeout(Duration),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::Error(error) => write!(f, "failed: {error}"),
            Self::Timeout(limit) => write!(f, "did not end within {limit:?}"),
        }
    }
}

/// The instruments of one task.
pub(super) struct Observer {
    running: UpDown,
    runs: Counter,
    panics: Counter,
    errors: Counter,
    timeouts: Counter,
    restarts: Counter,
    skipped: Counter,
}

impl Observer {
    pub(super) fn ran(&self, failure: Option<&Failure>) {
        self.runs.add(1);
        match failure {
            None => {}
            Some(Failure::Panic(_)) => self.panics.add(1),
            Some(Failure::Error(_)) => self.errors.add(1),
            Some(Failure::Timeout(_)) => self.timeouts.add(1),
        }
    }

    pub(super) fn restarted(&self) {
        self.restarts.add(1);
    }

    pub(super) fn skipped(&self, ticks: u32) {
        if ticks > 0 {
            self.skipped.add(u64::from(ticks));
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.running.add(-1);
    }
}

/// How a task that is run again does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition {
    failing: Arc<Mutex<Option<Failing>>>,
}

#[derive(Debug)]
struct Failing {
    failures: u32,
    last: String,
    /// When a run that goes on has settled; none while it waits for its next run.
    settles: Option<Instant>,
}

impl Condition {
    pub(super) fn failed(&self, failures: u32, failure: &Failure) {
        *self.lock() = Some(Failing {
            failures,
            last: failure.to_string(),
            settles: None,
        });
    }

    pub(super) fn well(&self) {
        *self.lock() = None;
    }

    /// A run began; it counts as well once it has lasted until `settles`.
    pub(super) fn running_until(&self, settles: Instant) {
        if let Some(failing) = self.lock().as_mut() {
            failing.settles = Some(settles);
        }
    }

    fn status(&self, now: Instant) -> Status {
        match &*self.lock() {
            Some(failing) if failing.settles.is_none_or(|settles| now < settles) => {
                let Failing { failures, last, .. } = failing;
                Status::Degraded(format!("{failures} failures in a row; the last run {last}"))
            }
            _ => Status::Up,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
