//! The breakers of a process, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::breaker::{Breaker, BreakerReport, BreakerSettings, WeakBreaker};
use crate::health::{Check, Registry, Status};
use crate::metrics::Metrics;

/// How often the health check of a breaker looks: it only reads memory.
const LOOKED_AT_EACH: Duration = Duration::from_secs(1);

/// The breakers of a process, by name; from [`Context::breakers`](crate::Context::breakers). Cheap to clone.
///
/// Each has metrics and a health check `breaker.<name>`, which is shared and informational: an open breaker is
/// *degraded* with its reason. It never counts for liveness, and for readiness only where `health.ready_requires` lists
/// it. A breaker that nobody holds any more is forgotten, with its check.
///
/// ```
/// use hafnium_core::Context;
/// use hafnium_core::resilience::BreakerSettings;
///
/// let cx = Context::standalone();
/// let breaker = cx.breakers().named("scoring", &BreakerSettings::default());
/// assert_eq!(cx.breakers().report()[0].state.as_str(), "closed");
/// assert_eq!(cx.health().report().checks[0].name, "breaker.scoring");
/// # drop(breaker);
/// ```
#[derive(Clone)]
pub struct Breakers {
    shared: Arc<Shared>,
}

struct Shared {
    health: Registry,
    metrics: Metrics,
    known: Mutex<BTreeMap<String, WeakBreaker>>,
}

impl Breakers {
    /// No breakers yet; theirs go to `health` and `metrics`.
    pub fn new(health: &Registry, metrics: &Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                health: health.clone(),
                metrics: metrics.clone(),
                known: Mutex::default(),
            }),
        }
    }

    /// The breaker of this name: all callers of one dependency share it. The first one's `settings` count; later ones
    /// are followed with [`Breaker::configure`].
    pub fn named(&self, name: &str, settings: &BreakerSettings) -> Breaker {
        let mut known = self.known();
        if let Some(breaker) = known.get(name).and_then(WeakBreaker::upgrade) {
            return breaker;
        }
        let breaker = Breaker::with_metrics(name, settings, &self.shared.metrics);
        known.insert(name.to_owned(), breaker.downgrade());
        drop(known);
        let check = Check::shared(format!("breaker.{name}"))
            .informational()
            .period(LOOKED_AT_EACH);
        let looked_at = breaker.downgrade();
        let probe = move || {
            let status = looked_at.upgrade().map_or(Status::Up, |breaker| breaker.health());
            std::future::ready(status)
        };
        breaker.keep_check(self.shared.health.register(check, probe));
        breaker
    }

    /// What is known of each that is held, in the order of their names.
    pub fn report(&self) -> Vec<BreakerReport> {
        let mut known = self.known();
        known.retain(|_, breaker| breaker.upgrade().is_some());
        let held: Vec<Breaker> = known.values().filter_map(WeakBreaker::upgrade).collect();
        // A breaker that is dropped here for the last time gives its check back, which takes other locks.
        drop(known);
        held.iter().map(Breaker::report).collect()
    }

    /// Held for a few instructions only, and never over an await.
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, WeakBreaker>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Breakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.report().iter().map(|report| &report.name))
            .finish()
    }
}
