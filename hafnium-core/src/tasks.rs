//! Named background tasks: counted, cancelled and awaited when the service stops.
//!
//! A task that panics does not take the process down by itself, and is not forgotten either: [`Tasks::panicked`]
//! says so, and the service that runs them stops with an error.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The background tasks of a service. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tracker: TaskTracker,
    cancel: CancellationToken,
    running: Mutex<BTreeMap<String, usize>>,
    /// The name of the first task that panicked.
    panicked: watch::Sender<Option<String>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` under `name` until it ends or the service cancels its background tasks; then it is dropped at its
    /// next await. A panic is reported by [`Tasks::panicked`].
    ///
    /// Must be called within a tokio runtime.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(self.shared.clone(), name.into());
        let cancel = self.shared.cancel.clone();
        self.shared.tracker.spawn(async move {
            let task = AssertUnwindSafe(task).catch_unwind();
            if let Some(Err(_)) = cancel.run_until_cancelled(task).await {
                tracing::error!(task = running.name, "background task panicked");
                running.shared.panicked.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert_with(|| running.name.clone());
                    is_first
                });
            }
        });
    }

    /// Waits until a task has panicked; gives the name of the first one.
    ///
    /// Cancel-safe.
    pub async fn panicked(&self) -> String {
        let mut panicked = self.shared.panicked.subscribe();
        loop {
            if let Some(name) = panicked.borrow_and_update().clone() {
                return name;
            }
            // The sender lives as long as `self`, so this can't fail.
            let _ = panicked.changed().await;
        }
    }

    /// A token that is cancelled when the background tasks are to end.
    pub fn cancelled(&self) -> CancellationToken {
        self.shared.cancel.clone()
    }

    /// The names of the tasks that still run, each with how many of that name do.
    pub fn running(&self) -> BTreeMap<String, usize> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Cancels all tasks and waits until each has ended. Bound it with a deadline.
    ///
    /// Cancel-safety: the tasks stay cancelled; calling it again goes on waiting.
    pub async fn stop(&self) {
        self.shared.cancel.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}

/// Counts a task under its name for as long as it lives.
struct Running {
    shared: Arc<Shared>,
    name: String,
}

impl Running {
    fn new(shared: Arc<Shared>, name: String) -> Self {
        *shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.clone())
            .or_default() += 1;
        Self { shared, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_cancels_and_awaits_every_task_and_forgets_its_name() {
        let tasks = Tasks::new();
        tasks.spawn("sweeper", std::future::pending());
        tasks.spawn("sweeper", std::future::pending());
        assert_eq!(tasks.running().get("sweeper"), Some(&2));
        tasks.stop().await;
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn a_panic_names_its_task_and_leaves_the_others_running() {
        let tasks = Tasks::new();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("shaky", async { panic!("as the test asks") });
        assert_eq!(tasks.panicked().await, "shaky");
        assert_eq!(tasks.running().into_keys().collect::<Vec<_>>(), ["steady"]);
    }
}
