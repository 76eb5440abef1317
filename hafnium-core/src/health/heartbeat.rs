//! Stall watchdogs: loops that must keep turning, whatever the dependencies do. They are what `livez` looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::registry::Registry;

/// The shared side of one watchdog.
pub(crate) struct Pulse {
    pub(crate) name: String,
    limit: Duration,
    begun: Instant,
    /// Milliseconds after `begun` of the last beat.
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(name: String, limit: Duration, now: Instant) -> Self {
        Self {
            name,
            limit,
            begun: now,
            last: AtomicU64::new(0),
        }
    }

    fn beat(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.begun).as_millis();
        self.last
            .store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago the last beat was, and whether that is too long.
    pub(crate) fn look(&self, now: Instant) -> PulseReport {
        let elapsed = now.saturating_duration_since(self.begun);
        let silent = elapsed.saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        PulseReport {
            name: self.name.clone(),
            silent,
            limit: self.limit,
        }
    }
}

/// What is known of one watchdog.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PulseReport {
    /// The watchdog's name, such as `http.accept`.
    pub name: String,
    /// How long ago it last beat.
    pub silent: Duration,
    /// How long it may be silent.
    pub limit: Duration,
}

impl PulseReport {
    /// Whether the loop turns.
    pub fn is_alive(&self) -> bool {
        self.silent <= self.limit
    }
}

/// Held by a loop that must keep turning; dropping it ends the watch.
///
/// Made by [`Registry::heartbeat`]. When it was silent for longer than its limit, `livez` fails and the process is
/// restarted: so it must never depend on a server elsewhere.
#[must_use]
pub struct Heartbeat {
    pub(crate) registry: Registry,
    pub(crate) pulse: Arc<Pulse>,
}

impl Heartbeat {
    /// Says that the loop turns.
    pub fn beat(&self) {
        self.pulse.beat(Instant::now());
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.registry.forget_pulse(&self.pulse);
    }
}
