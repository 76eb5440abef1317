//! The handle that callers hold.

use std::future::Future;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::BulkheadFull;
use super::figures::Figures;
use super::layer::BulkheadLayer;
use super::permit::{BulkheadPermit, Queued};
use super::settings::BulkheadSettings;
use crate::deadline::Deadline;
use crate::metrics::Metrics;
use crate::resilience::error::CallError;

/// Limits how many calls run at once, and how many wait for how long. Cheap to clone; clones share the places, and so do
/// the layers made of them.
///
/// Fair: a place goes to the one that has waited longest, and nobody overtakes the queue.
///
/// ```
/// use hafnium_core::resilience::{Bulkhead, BulkheadSettings, CallError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut settings = BulkheadSettings::default();
/// (settings.max_concurrent, settings.max_queued) = (1, 0);
/// let bulkhead = Bulkhead::new("reports", &settings);
/// let held = bulkhead.enter().await;
/// let refused = bulkhead.run(async { Ok::<_, std::io::Error>("a report") }).await;
/// assert!(matches!(refused, Err(CallError::Full(_))));
/// drop(held);
/// let report = bulkhead.run(async { Ok::<_, std::io::Error>("a report") }).await;
/// assert!(matches!(report, Ok("a report")));
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) figures: Figures,
    pub(super) queued: AtomicU32,
    places: Arc<Semaphore>,
    limits: Mutex<Limits>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    max_concurrent: u32,
    max_queued: u32,
    queue_timeout: Duration,
    /// Places that were taken away by a reload while calls held them: they go as the calls end.
    surplus: u32,
}

/// What is known of a bulkhead at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadReport {
    /// Its name.
    pub name: Arc<str>,
    /// How many calls run; after a reload to fewer places that may be more than [`max_concurrent`](Self::max_concurrent).
    pub in_use: u32,
    /// How many wait for a place.
    pub queued: u32,
    /// How many may run at once.
    pub max_concurrent: u32,
}

impl Limits {
    fn new(settings: &BulkheadSettings) -> Self {
        Self {
            max_concurrent: settings.max_concurrent.clamp(1, 1_000_000),
            max_queued: settings.max_queued,
            queue_timeout: settings.queue_timeout.get(),
            surplus: 0,
        }
    }
}

impl Bulkhead {
    /// A bulkhead that no metric shows.
    pub fn new(name: impl Into<Arc<str>>, settings: &BulkheadSettings) -> Self {
        Self::with_metrics(name, settings, &Metrics::noop())
    }

    /// The same, shown in `hafnium.bulkhead.in_use`, `hafnium.bulkhead.queued` and `hafnium.bulkhead.rejected`.
    pub fn with_metrics(name: impl Into<Arc<str>>, settings: &BulkheadSettings, metrics: &Metrics) -> Self {
        let name = name.into();
        let limits = Limits::new(settings);
        Self {
            shared: Arc::new(Shared {
                figures: Figures::new(&name, metrics),
                queued: AtomicU32::new(0),
                places: Arc::new(Semaphore::new(limits.max_concurrent as usize)),
                limits: Mutex::new(limits),
                name,
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What is known of it now.
    pub fn report(&self) -> BulkheadReport {
        let limits = *self.shared.limits();
        let places = limits.max_concurrent.saturating_add(limits.surplus);
        let free = u32::try_from(self.shared.places.available_permits()).unwrap_or(u32::MAX);
        BulkheadReport {
            name: self.shared.name.clone(),
            in_use: places.saturating_sub(free),
            queued: Queued::count(&self.shared.queued),
            max_concurrent: limits.max_concurrent,
        }
    }

    /// Follows a reload. Calls that run keep their places: with fewer places the next ones wait until enough have ended.
    pub fn configure(&self, settings: &BulkheadSettings) {
        let mut limits = self.shared.limits();
        let places = limits.max_concurrent.saturating_add(limits.surplus);
        *limits = Limits::new(settings);
        match places.checked_sub(limits.max_concurrent) {
            Some(fewer) => {
                let gone = self.shared.places.forget_permits(fewer as usize);
                limits.surplus = fewer.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
            }
            None => {
                let more = limits.max_concurrent - places;
                self.shared.places.add_permits(more as usize);
            }
        }
    }

    /// Runs `call` as soon as there is a place for it.
    ///
    /// Waits no longer than the nearer of `queue_timeout` and the deadline in force.
    ///
    /// Cancel-safety: as that of `call`; dropped while it waits, nothing was called and the place in the queue is free.
    ///
    /// # Errors
    /// [`CallError::Full`] when nothing was called, [`CallError::Failed`] with the call's own error.
    pub async fn run<T, E, F>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.enter().await?;
        let result = call.await;
        drop(permit);
        result.map_err(CallError::Failed)
    }

    /// Waits for a place, for those whose call is no single future.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`BulkheadFull`] when there was none in time.
    pub async fn enter(&self) -> Result<BulkheadPermit, BulkheadFull> {
        match self.try_enter() {
            Some(permit) => Ok(permit),
            None => self.wait().await,
        }
    }

    /// A tower layer over the same places.
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer::new(self.clone())
    }

    /// A place that is free now. The semaphore gives none while others wait.
    pub(super) fn try_enter(&self) -> Option<BulkheadPermit> {
        let place = self.shared.places.clone().try_acquire_owned().ok()?;
        Some(BulkheadPermit::new(self.shared.clone(), place))
    }

    /// The same, or the refusal.
    pub(super) fn enter_now(&self) -> Result<BulkheadPermit, BulkheadFull> {
        self.try_enter().ok_or_else(|| {
            let full = self.full();
            self.shared.figures.rejected(&full);
            full
        })
    }

    fn full(&self) -> BulkheadFull {
        BulkheadFull::Queue {
            bulkhead: self.shared.name.clone(),
        }
    }

    pub(super) async fn wait(&self) -> Result<BulkheadPermit, BulkheadFull> {
        let result = self.queue().await;
        if let Err(why) = &result {
            self.shared.figures.rejected(why);
        }
        result
    }

    async fn queue(&self) -> Result<BulkheadPermit, BulkheadFull> {
        let Limits {
            max_queued,
            queue_timeout,
            ..
        } = *self.shared.limits();
        let queued = Queued::enter(self.shared.clone(), max_queued).ok_or_else(|| self.full())?;
        let begun = Instant::now();
        let place = Deadline::nearest(queue_timeout)
            .bound(
                "a place in the bulkhead",
                self.shared.places.clone().acquire_owned(),
            )
            .await;
        drop(queued);
        match place {
            Ok(Ok(place)) => Ok(BulkheadPermit::new(self.shared.clone(), place)),
            // The semaphore is never closed.
            Ok(Err(_)) => Err(self.full()),
            Err(_) => Err(BulkheadFull::Timeout {
                bulkhead: self.shared.name.clone(),
                waited: begun.elapsed(),
            }),
        }
    }
}

impl Shared {
    /// Held for a few instructions only, and never over an await.
    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has ended: its place goes to the next one, or away if a reload took it.
    pub(super) fn give_back(&self, place: OwnedSemaphorePermit) {
        let mut limits = self.limits();
        match limits.surplus.checked_sub(1) {
            Some(left) => {
                limits.surplus = left;
                place.forget();
            }
            None => drop(place),
        }
    }
}

impl std::fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.report();
        f.debug_struct("Bulkhead")
            .field("name", &report.name)
            .field("in_use", &report.in_use)
            .field("queued", &report.queued)
            .finish()
    }
}
