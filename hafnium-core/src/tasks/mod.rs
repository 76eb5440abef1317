//! Named background tasks: counted, cancelled and awaited when the service stops.
//!
//! | | runs | a failure (panic or `Err`) |
//! |---|---|---|
//! | [`Tasks::spawn`] | once | a panic is fatal to the service |
//! | [`Tasks::spawn_with`] | again, as its [`Restart`] says | fatal, or waited out and run again |
//! | [`Tasks::every`] | each period, as [`Every`] says | counted; a panic is fatal unless the policy restarts |
//! | [`Tasks::spawn_blocking`] | once, on a thread that may block | is for who awaits it |
//!
//! Fatal means: [`Tasks::fatal`] says so, and the service that runs them stops with exit code 1. Tasks record
//! `hafnium.task.running`, `.runs`, `.failures` (by cause), `.restarts` and `.skipped`; one that is run again has a health
//! check `task.<name>` that is degraded while it fails, and never counts for readiness.

mod every;
mod observe;
mod restart;
mod run;
mod running;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use every::Every;
pub use restart::Restart;
pub use run::TaskOutput;

use self::observe::{Condition, Failure, Observer, Observers};
use self::running::Names;
use crate::health::Registry;
use crate::metrics::Metrics;

/// The background tasks of a service. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tracker: TaskTracker,
    cancel: CancellationToken,
    names: Names,
    observers: OnceLock<Observers>,
    /// The first failure that no policy allows.
    fatal: watch::Sender<Option<Fatal>>,
}

impl Shared {
    /// Says that the service has to end; the first failure counts.
    fn fail(&self, fatal: Fatal) {
        tracing::error!(task = fatal.task, "background {fatal}");
        self.fatal.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(fatal);
            is_first
        });
    }
}

/// A failure of a task that ends the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {reason}")]
#[non_exhaustive]
pub struct Fatal {
    /// The task's name.
    pub task: String,
    /// What happened, such as `panicked: index out of bounds`.
    pub reason: String,
}

impl Fatal {
    fn new(task: &str, reason: String) -> Self {
        Self {
            task: task.to_owned(),
            reason,
        }
    }

    /// The last of so many failures in a row.
    fn after(task: &str, failures: u32, last: Option<Failure>) -> Self {
        let last = last.map_or_else(|| "ended".to_owned(), |last| last.to_string());
        match failures {
            0 | 1 => Self::new(task, last),
            _ => Self::new(
                task,
                format!("gave up after {failures} failures in a row; the last run {last}"),
            ),
        }
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the tasks spawned from now on record metrics, and register health checks; the first call counts.
    pub(crate) fn observe(&self, registry: &Registry, metrics: &Metrics) {
        self.shared
            .observers
            .get_or_init(|| Observers::new(Some(registry.clone()), metrics));
    }

    /// Runs `task` under `name` until it ends or the service cancels its background tasks; then it is dropped at its
    /// next await. A panic is fatal to the service.
    ///
    /// Must be called within a tokio runtime.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        let observer = self.observer(&name);
        let label = name.clone();
        self.run(name, async move { run::once(&label, task, &observer).await });
    }

    /// Runs the tasks that `make` gives, one after the other as `restart` says, until one ends for good or the service
    /// cancels its background tasks. A failure is a panic or an `Err`; what the policy does not allow is fatal.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use hafnium_core::tasks::{Restart, Tasks};
    /// # async fn follow() -> std::io::Result<()> { Ok(()) }
    ///
    /// let tasks = Tasks::new();
    /// tasks.spawn_with("follower", Restart::on_failure().limit(10), || follow());
    /// # tasks.stop().await;
    /// # }
    /// ```
    pub fn spawn_with<F, Fut>(&self, name: impl Into<String>, restart: Restart, make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send,
    {
        let name = name.into();
        let (observer, condition) = (self.observer(&name), Condition::default());
        let check = restart
            .restarts()
            .then(|| self.observers().check(&name, &condition));
        let label = name.clone();
        self.run(name, async move {
            let _check = check;
            run::again(&label, restart, make, &observer, &condition).await
        });
    }

    /// Runs what `make` gives each period, as `every` says, until the service cancels its background tasks. Runs never
    /// overlap; ticks that pass while one is under way are skipped.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use hafnium_core::tasks::{Every, Tasks};
    /// # async fn sweep() -> std::io::Result<()> { Ok(()) }
    ///
    /// let tasks = Tasks::new();
    /// tasks.every("sweeper", Duration::from_secs(60), || sweep());
    /// let impatient = Every::new(Duration::from_secs(60)).timeout(Duration::from_secs(5)).at_once();
    /// tasks.every("quick sweeper", impatient, || sweep());
    /// # tasks.stop().await;
    /// # }
    /// ```
    pub fn every<F, Fut>(&self, name: impl Into<String>, every: impl Into<Every>, make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send,
    {
        let (name, every) = (name.into(), every.into());
        let (observer, condition) = (self.observer(&name), Condition::default());
        let check = self.observers().check(&name, &condition);
        let label = name.clone();
        self.run(name, async move {
            let _check = check;
            Err(run::each(&label, every, make, &observer, &condition).await)
        });
    }

    /// Runs `work` on a thread that may block. It can't be cancelled: one that should end early looks at
    /// [`Tasks::cancelled`]. The stop waits for it within its limit, then names it and goes on without it.
    ///
    /// A panic is an error of the returned handle, and not fatal. Must be called within a tokio runtime.
    pub fn spawn_blocking<T, F>(&self, name: impl Into<String>, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = name.into();
        let observer = self.observer(&name);
        let running = self.shared.names.enter(&format!("{name} (blocking)"));
        self.shared.tracker.spawn_blocking(move || {
            let _running = running;
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(value) => {
                    observer.ran(None);
                    value
                }
                Err(payload) => {
                    let failure = Failure::Panic(run::message(payload.as_ref()));
                    observer.ran(Some(&failure));
                    tracing::error!(task = name, "blocking task {failure}");
                    resume_unwind(payload)
                }
            }
        })
    }

    /// Lets a panic of `part` be fatal to the service; gives what it ends with, or nothing after a panic.
    ///
    /// For loops of a component that must outlive the background tasks, such as those of a pool: they are spawned and
    /// stopped by the component itself, are no tasks of the service, and are not named among them.
    pub fn guard<T, F>(&self, name: &str, part: F) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        F: Future<Output = T> + Send,
    {
        let (name, shared) = (name.to_owned(), self.shared.clone());
        async move {
            match AssertUnwindSafe(part).catch_unwind().await {
                Ok(value) => Some(value),
                Err(payload) => {
                    let failure = Failure::Panic(run::message(payload.as_ref()));
                    shared.fail(Fatal::new(&name, failure.to_string()));
                    None
                }
            }
        }
    }

    /// Waits until a task has failed in a way that its policy does not allow; gives the first one.
    ///
    /// Cancel-safe.
    pub async fn fatal(&self) -> Fatal {
        let mut fatal = self.shared.fatal.subscribe();
        loop {
            if let Some(fatal) = fatal.borrow_and_update().clone() {
                return fatal;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = fatal.changed().await;
        }
    }

    /// A token that is cancelled when the background tasks are to end.
    pub fn cancelled(&self) -> CancellationToken {
        self.shared.cancel.clone()
    }

    /// The names of the tasks that still run, each with how many of that name do; those of
    /// [`spawn_blocking`](Self::spawn_blocking) end with `(blocking)`.
    pub fn running(&self) -> BTreeMap<String, usize> {
        self.shared.names.all()
    }

    /// Cancels all tasks and waits until each has ended. Bound it with a deadline.
    ///
    /// Cancel-safety: the tasks stay cancelled; calling it again goes on waiting.
    pub async fn stop(&self) {
        self.shared.cancel.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    fn run(&self, name: String, task: impl Future<Output = Result<(), Fatal>> + Send + 'static) {
        let running = self.shared.names.enter(&name);
        let shared = self.shared.clone();
        self.shared.tracker.spawn(async move {
            let _running = running;
            if let Some(Err(fatal)) = shared.cancel.run_until_cancelled(task).await {
                shared.fail(fatal);
            }
        });
    }

    fn observer(&self, name: &str) -> Observer {
        self.observers().of(name)
    }

    fn observers(&self) -> Observers {
        let observers = self.shared.observers.get().cloned();
        observers.unwrap_or_else(|| Observers::new(None, &Metrics::noop()))
    }
}
