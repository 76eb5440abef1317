//! The set of registered checks, with what was last seen of each.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::check::{Check, Status};
use super::heartbeat::{Heartbeat, Pulse};
use super::history::{Change, History};
use super::hysteresis::{Health, Hysteresis};
use super::report::{CheckReport, Report};
use crate::component::BoxFuture;

type Probe = Arc<dyn Fn() -> BoxFuture<'static, Status> + Send + Sync>;

/// The checks of a service. Cheap to clone.
///
/// Registering needs no runtime; checks run once [`Registry::run`] was called.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    entries: Mutex<Vec<Arc<Entry>>>,
    pulses: Mutex<Vec<Arc<Pulse>>>,
    required: Mutex<Vec<String>>,
    next_id: AtomicU64,
    changed: Notify,
}

/// One registered check and its memory.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) check: Check,
    pub(super) probe: Probe,
    memory: Mutex<Memory>,
}

struct Memory {
    hysteresis: Hysteresis,
    reason: Option<String>,
    last_run: Option<Instant>,
    took: Duration,
    history: History,
}

/// Locks of this module are held for a few instructions only, and never over an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    /// Takes the result of one run; returns the new health if it changed.
    pub(super) fn observe(&self, status: &Status, took: Duration, now: Instant) -> Option<Health> {
        let mut memory = lock(&self.memory);
        memory.reason = match status {
            Status::Up => None,
            Status::Degraded(reason) | Status::Down(reason) => Some(reason.clone()),
        };
        memory.last_run = Some(now);
        memory.took = took;
        let changed = memory.hysteresis.observe(status, now);
        if let Some(health) = changed {
            let reason = memory.reason.clone();
            memory.history.add(Change {
                at: now,
                health,
                reason,
            });
        }
        changed
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.memory).hysteresis.health()
    }

    fn report(&self, required: &[String], now: Instant) -> CheckReport {
        let memory = lock(&self.memory);
        CheckReport {
            name: self.check.name.clone(),
            scope: self.check.scope,
            counts: self.check.counts(required),
            health: memory.hysteresis.health(),
            reason: memory.reason.clone(),
            failures: memory.hysteresis.failures(),
            since: now.saturating_duration_since(memory.hysteresis.since()),
            last_run: memory.last_run.map(|at| now.saturating_duration_since(at)),
            took: memory.took,
            history: memory.history.changes(),
        }
    }
}

impl Registry {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `check`, which runs `probe`. Dropping the returned guard removes it.
    pub fn register<F, Fut>(&self, check: Check, probe: F) -> Registration
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Status> + Send + 'static,
    {
        let probe: Probe = Arc::new(move || Box::pin(probe()));
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let memory = Memory {
            hysteresis: Hysteresis::new(check.fall, check.rise, Instant::now()),
            reason: None,
            last_run: None,
            took: Duration::ZERO,
            history: History::default(),
        };
        lock(&self.shared.entries).push(Arc::new(Entry {
            id,
            check,
            probe,
            memory: Mutex::new(memory),
        }));
        self.shared.changed.notify_one();
        Registration {
            registry: self.clone(),
            id,
        }
    }

    /// A watchdog: `livez` fails when the returned guard was silent for longer than `limit`.
    ///
    /// For loops of this process only; a server elsewhere must never silence it.
    pub fn heartbeat(&self, name: impl Into<String>, limit: Duration) -> Heartbeat {
        let pulse = Arc::new(Pulse::new(name.into(), limit, Instant::now()));
        lock(&self.shared.pulses).push(pulse.clone());
        Heartbeat {
            registry: self.clone(),
            pulse,
        }
    }

    /// Makes the shared checks of these names count for readiness (see [`HealthSettings`](super::HealthSettings)).
    pub fn require(&self, names: impl IntoIterator<Item = String>) {
        lock(&self.shared.required).extend(names);
    }

    /// What is known now. Answered from memory: it never waits for a check.
    pub fn report(&self) -> Report {
        let now = Instant::now();
        let required = lock(&self.shared.required).clone();
        let mut checks: Vec<CheckReport> = self
            .entries()
            .iter()
            .map(|entry| entry.report(&required, now))
            .collect();
        // A name listed for readiness that no component registers must show, not be forgotten.
        for name in required {
            if !checks.iter().any(|check| check.name == name) {
                checks.push(CheckReport::missing(name));
            }
        }
        let pulses = lock(&self.shared.pulses)
            .iter()
            .map(|pulse| pulse.look(now))
            .collect();
        Report { checks, pulses }
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.shared.entries).clone()
    }

    /// Waits until a check was registered or removed since the last call.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(super) fn forget_pulse(&self, pulse: &Arc<Pulse>) {
        lock(&self.shared.pulses).retain(|known| !Arc::ptr_eq(known, pulse));
    }
}

/// Keeps a check registered; dropping it removes the check.
#[must_use]
pub struct Registration {
    registry: Registry,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.registry.shared.entries).retain(|entry| entry.id != self.id);
        self.registry.shared.changed.notify_one();
    }
}
