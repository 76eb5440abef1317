//! The stop: phases in order, each with a limit, none slept out.
//!
//! | step | phase | what |
//! |---|---|---|
//! | 1 | `drain_delay` | not ready, still serving; consumers see [`State::Draining`] and take nothing new |
//! | 2 | `drain` | listeners and consumers finish what they hold, side by side |
//! | 3 | `tasks` | background tasks are cancelled and awaited |
//! | 4 | `components` | components stop, last started first |
//! | 5 | `flush` | telemetry is delivered |
//!
//! The operator listener is not part of it: it answers probes until the verdict is known and is closed by the caller.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::budget::Budget;
use super::state::{Lifecycle, State};
use super::verdict::{Phase, Verdict};
use crate::component::{BoxFuture, Component, Stopped};
use crate::deadline::Deadline;
use crate::tasks::Tasks;

/// How often a line names what is waited for.
const NAME_STRAGGLERS: Duration = Duration::from_secs(5);

/// What a component may take beyond its deadline to say how it ended; then it is given up.
const OVERRUN: Duration = Duration::from_millis(50);

/// Delivers telemetry by the deadline and says whether all of it went out.
pub type Flush = Box<dyn FnOnce(Deadline) -> BoxFuture<'static, Stopped> + Send>;

/// What a stop has to do.
#[must_use]
#[non_exhaustive]
pub struct Plan {
    /// What brings work in: the application listener and the consumers. They stop side by side.
    pub workloads: Vec<Arc<dyn Component>>,
    /// The background tasks.
    pub tasks: Tasks,
    /// The started components, in the order they were started; they stop in reverse.
    pub components: Vec<Arc<dyn Component>>,
    /// Delivers the telemetry.
    pub flush: Option<Flush>,
}

impl Plan {
    /// Nothing to stop but `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            workloads: Vec::new(),
            tasks,
            components: Vec::new(),
            flush: None,
        }
    }

    /// Adds what brings work in.
    pub fn workloads(mut self, workloads: impl IntoIterator<Item = Arc<dyn Component>>) -> Self {
        self.workloads.extend(workloads);
        self
    }

    /// Adds started components, in the order they were started.
    pub fn components(mut self, components: impl IntoIterator<Item = Arc<dyn Component>>) -> Self {
        self.components.extend(components);
        self
    }

    /// Sets what delivers the telemetry.
    pub fn flush<F, Fut>(mut self, flush: F) -> Self
    where
        F: FnOnce(Deadline) -> Fut + Send + 'static,
        Fut: Future<Output = Stopped> + Send + 'static,
    {
        self.flush = Some(Box::new(move |deadline| Box::pin(flush(deadline))));
        self
    }
}

/// Runs `plan` within `budget`. The lifecycle goes to Draining, Stopping and Stopped on the way.
///
/// Takes at most [`Budget::total`] and an overrun of 50 ms per component, whatever the components do (short of blocking
/// every thread of the runtime).
///
/// Cancel-safety: not to be cancelled; what was not stopped yet stays as it is.
pub async fn stop(lifecycle: &Lifecycle, budget: Budget, plan: Plan) -> Verdict {
    let mut verdict = Verdict::default();

    lifecycle.advance(State::Draining);
    let begun = Instant::now();
    if !budget.drain_delay.is_zero() && !plan.workloads.is_empty() {
        tokio::time::sleep(budget.drain_delay).await;
    }
    verdict.took.push((Phase::DrainDelay, begun.elapsed()));

    lifecycle.advance(State::Stopping);
    let deadline = Deadline::after(budget.drain);
    let workloads = Stopping::all(&plan.workloads);
    let drain = async {
        let stops = workloads.iter().map(|one| one.stop(deadline));
        join_all(stops).await.into_iter().flatten().collect()
    };
    run(&mut verdict, Phase::Drain, drain, || names(&workloads)).await;

    let limit = Deadline::after(budget.tasks);
    let tasks = async {
        match limit.bound("background tasks", plan.tasks.stop()).await {
            Ok(()) => Vec::new(),
            Err(_) => running(&plan.tasks),
        }
    };
    run(&mut verdict, Phase::Tasks, tasks, || running(&plan.tasks)).await;

    let deadline = Deadline::after(budget.components);
    let components = Stopping::all(&plan.components);
    let close = async {
        let mut stragglers = Vec::new();
        for component in components.iter().rev() {
            stragglers.extend(component.stop(deadline).await);
        }
        stragglers
    };
    run(&mut verdict, Phase::Components, close, || names(&components)).await;

    if let Some(flush) = plan.flush {
        let deadline = Deadline::after(budget.flush);
        let flush = async {
            let flush = AssertUnwindSafe(async { flush(deadline).await }).catch_unwind();
            match after(deadline).bound("telemetry", flush).await {
                Ok(Ok(stopped)) => stopped.stragglers().to_vec(),
                Ok(Err(_)) => vec!["telemetry: panicked while flushing".to_owned()],
                Err(_) => vec!["telemetry".to_owned()],
            }
        };
        run(&mut verdict, Phase::Flush, flush, || vec!["telemetry".to_owned()]).await;
    }

    lifecycle.advance(State::Stopped);
    verdict
}

/// Runs one phase to its end and notes its result; meanwhile a line each 5 s names what is `under_way`.
async fn run(
    verdict: &mut Verdict,
    phase: Phase,
    work: impl Future<Output = Vec<String>>,
    under_way: impl Fn() -> Vec<String>,
) {
    let begun = Instant::now();
    let mut work = pin!(work);
    let mut ticks = tokio::time::interval_at(begun + NAME_STRAGGLERS, NAME_STRAGGLERS);
    let stragglers = loop {
        tokio::select! {
            biased;
            stragglers = &mut work => break stragglers,
            _ = ticks.tick() => {
                let stragglers = under_way().join(", ");
                tracing::warn!(phase = phase.as_str(), waited = ?begun.elapsed(), "stopping waits for {stragglers}");
            }
        }
    };
    verdict
        .stragglers
        .extend(stragglers.into_iter().map(|name| (phase, name)));
    verdict.took.push((phase, begun.elapsed()));
}

/// A component on its way to its end.
struct Stopping<'a> {
    component: &'a dyn Component,
    ended: AtomicBool,
}

impl<'a> Stopping<'a> {
    fn all(components: &'a [Arc<dyn Component>]) -> Vec<Self> {
        components
            .iter()
            .map(|component| Self {
                component: component.as_ref(),
                ended: AtomicBool::new(false),
            })
            .collect()
    }

    /// Stops the component; gives what did not end. Its own promise to keep the deadline is not relied on.
    async fn stop(&self, deadline: Deadline) -> Vec<String> {
        let name = self.component.name();
        let stop = AssertUnwindSafe(async { self.component.stop(deadline).await }).catch_unwind();
        let stragglers = match after(deadline).bound("the component to stop", stop).await {
            Ok(Ok(stopped)) => stopped
                .stragglers()
                .iter()
                .map(|one| format!("{name}: {one}"))
                .collect(),
            Ok(Err(_)) => vec![format!("{name}: panicked while stopping")],
            Err(_) => self.under_way(),
        };
        self.ended.store(true, Ordering::Relaxed);
        stragglers
    }

    /// What the component says is under way, or else its name.
    fn under_way(&self) -> Vec<String> {
        let name = self.component.name();
        let under_way = self.component.under_way();
        if under_way.is_empty() {
            vec![name.to_owned()]
        } else {
            under_way.iter().map(|one| format!("{name}: {one}")).collect()
        }
    }
}

/// What those that have not ended yet wait for.
fn names(components: &[Stopping<'_>]) -> Vec<String> {
    components
        .iter()
        .filter(|component| !component.ended.load(Ordering::Relaxed))
        .flat_map(Stopping::under_way)
        .collect()
}

/// Shortly after `deadline`, or after now if that is later: also who is called late is called.
fn after(deadline: Deadline) -> Deadline {
    Deadline::at(deadline.instant().max(Instant::now()) + OVERRUN)
}

fn running(tasks: &Tasks) -> Vec<String> {
    tasks
        .running()
        .into_iter()
        .map(|(name, count)| {
            if count == 1 {
                name
            } else {
                format!("{name} ×{count}")
            }
        })
        .collect()
}
