//! The handle that callers hold.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::admission::Admission;
use super::error::BreakerOpen;
use super::figures::Figures;
use super::layer::BreakerLayer;
use super::machine::{BreakerState, Changed, Machine, Rules, Ticket};
use super::settings::BreakerSettings;
use super::verdict::Verdict;
use crate::classify::Classify;
use crate::health::{Registration, Status};
use crate::metrics::Metrics;
use crate::resilience::error::CallError;

/// Stops calling a dependency that fails. Cheap to clone; clones share one state, and so do the layers made of them.
///
/// ```
/// use hafnium_core::resilience::{Breaker, BreakerSettings, BreakerState, CallError};
/// use hafnium_core::{Classified, Classify, Fault, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut settings = BreakerSettings::default();
/// settings.minimum_calls = 2;
/// let breaker = Breaker::new("scoring", &settings);
/// for _ in 0..2 {
///     let down = Classified::new(Outcome::NotRun, true, Fault::Dependency, "scoring.refused");
///     let _ = breaker.call(async { Err::<(), _>(down) }).await;
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// let refused = breaker.call(async { Ok::<_, Classified>("never called") }).await;
/// assert!(matches!(&refused, Err(CallError::Open(open)) if open.code() == "breaker.open"));
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    name: Arc<str>,
    machine: Mutex<Machine>,
    figures: Figures,
    /// The health check, which ends with the breaker.
    check: OnceLock<Registration>,
}

/// Finds a breaker again for as long as someone holds it.
#[derive(Clone)]
pub(in crate::resilience) struct WeakBreaker(Weak<Shared>);

impl WeakBreaker {
    pub(in crate::resilience) fn upgrade(&self) -> Option<Breaker> {
        self.0.upgrade().map(|shared| Breaker { shared })
    }
}

/// What is known of a breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerReport {
    /// Its name.
    pub name: Arc<str>,
    /// The state it is in.
    pub state: BreakerState,
    /// For how long it has been in that state.
    pub since: Duration,
    /// How often it has opened since it was made.
    pub opened: u64,
    /// The calls in the window; of one that is not closed, those that opened it.
    pub calls: u32,
    /// How many of them failed.
    pub failures: u32,
    /// How many of them were slow.
    pub slow: u32,
}

impl Breaker {
    /// A closed breaker that no metric shows. In a service take it from the context's registry, which adds metrics and
    /// a health check.
    pub fn new(name: impl Into<Arc<str>>, settings: &BreakerSettings) -> Self {
        Self::with_metrics(name, settings, &Metrics::noop())
    }

    /// The same, shown in `hafnium.breaker.state`, `hafnium.breaker.transitions` and `hafnium.breaker.rejected`.
    pub fn with_metrics(name: impl Into<Arc<str>>, settings: &BreakerSettings, metrics: &Metrics) -> Self {
        let name = name.into();
        Self {
            shared: Arc::new(Shared {
                machine: Mutex::new(Machine::new(Rules::from(settings), Instant::now())),
                figures: Figures::new(&name, metrics),
                check: OnceLock::new(),
                name,
            }),
        }
    }

    pub(in crate::resilience) fn downgrade(&self) -> WeakBreaker {
        WeakBreaker(Arc::downgrade(&self.shared))
    }

    /// Keeps the health check for as long as the breaker is held.
    pub(in crate::resilience) fn keep_check(&self, check: Registration) {
        // A second one can't come: the registry makes a breaker once.
        let _ = self.shared.check.set(check);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The state it is in. An open one becomes half-open with the first call after its time.
    pub fn state(&self) -> BreakerState {
        self.shared.lock().state()
    }

    /// What is known of it now.
    pub fn report(&self) -> BreakerReport {
        let now = Instant::now();
        let mut machine = self.shared.lock();
        let counts = machine.counts(now);
        BreakerReport {
            name: self.shared.name.clone(),
            state: machine.state(),
            since: machine.age(now),
            opened: machine.opened(),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
        }
    }

    /// What its health check says: it is up, or degraded with the reason. Never down: the dependency is, not the breaker.
    pub(in crate::resilience) fn health(&self) -> Status {
        let report = self.report();
        let (calls, failures, slow) = (report.calls, report.failures, report.slow);
        let why = match report.state {
            BreakerState::Closed => return Status::Up,
            _ if slow > failures => format!("{slow} of {calls} calls were slow"),
            _ if calls > 0 => format!("{failures} of {calls} calls failed"),
            _ => "probes did not end".to_owned(),
        };
        let state = match report.state {
            BreakerState::HalfOpen => "half-open",
            _ => "open",
        };
        Status::Degraded(format!("{state} since {} s: {why}", report.since.as_secs()))
    }

    /// Follows a reload. The state and what the window holds stay; an open breaker's time is counted anew against the
    /// new `open_for`.
    pub fn configure(&self, settings: &BreakerSettings) {
        let mut machine = self.shared.lock();
        let changed = machine.configure(Rules::from(settings), Instant::now());
        drop(machine);
        self.shared.tell(changed);
    }

    /// Runs `call` if it is let through, and counts its end by [`Verdict::of`]. A future that is refused is dropped
    /// without having been polled.
    ///
    /// Put the call's own time limit inside: what is dropped from outside counts as nothing.
    ///
    /// Cancel-safety: as that of `call`; a probe's place is given back.
    ///
    /// # Errors
    /// [`CallError::Open`] when nothing was called, [`CallError::Failed`] with the call's own error.
    pub async fn call<T, E, F>(&self, call: F) -> Result<T, CallError<E>>
    where
        E: Classify,
        F: Future<Output = Result<T, E>>,
    {
        let admission = self.admit()?;
        let result = call.await;
        admission.record(Verdict::of(&result));
        result.map_err(CallError::Failed)
    }

    /// Asks to make one call now, for those whose result is no [`Classify`]: say what became of it with
    /// [`Admission::record`].
    ///
    /// # Errors
    /// [`BreakerOpen`] when it must not be made.
    pub fn admit(&self) -> Result<Admission, BreakerOpen> {
        self.ask().inspect_err(|_| self.count_refusal())
    }

    /// The same for a call that may never be made: a refusal is counted once it is one, by [`Self::count_refusal`].
    pub(super) fn ask(&self) -> Result<Admission, BreakerOpen> {
        let now = Instant::now();
        let (admitted, changed) = self.shared.lock().admit(now);
        self.shared.tell(changed);
        match admitted {
            Ok(ticket) => Ok(Admission::new(self.clone(), ticket, now)),
            Err(retry_after) => Err(BreakerOpen {
                breaker: self.shared.name.clone(),
                retry_after,
            }),
        }
    }

    pub(super) fn count_refusal(&self) {
        self.shared.figures.rejected();
    }

    /// A tower layer over the same state.
    pub fn layer(&self) -> BreakerLayer {
        BreakerLayer::new(self.clone())
    }

    pub(super) fn is_current(&self, ticket: Ticket) -> bool {
        self.shared.lock().is_current(ticket)
    }

    pub(super) fn record(&self, ticket: Ticket, verdict: Verdict, begun: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(begun);
        let changed = self.shared.lock().record(ticket, verdict, took, now);
        self.shared.tell(changed);
    }

    pub(super) fn abandon(&self, ticket: Ticket) {
        self.shared.lock().abandon(ticket, Instant::now());
    }
}

impl Shared {
    /// Held for a few instructions only, and never over an await.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changed: Option<Changed>) {
        let Some(Changed { to, counts }) = changed else {
            return;
        };
        self.figures.changed(to);
        let (breaker, state) = (&*self.name, to.as_str());
        match to {
            BreakerState::Open => tracing::warn!(
                breaker,
                state,
                calls = counts.calls,
                failures = counts.failures,
                slow = counts.slow,
                "breaker opened"
            ),
            BreakerState::Closed | BreakerState::HalfOpen => {
                tracing::info!(breaker, state, "breaker changed");
            }
        }
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .finish()
    }
}
