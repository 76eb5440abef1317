//! Named background tasks: counted, cancelled and awaited when the service stops.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

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
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` under `name` until it ends or the service cancels its background tasks; then it is dropped at its
    /// next await.
    ///
    /// Must be called within a tokio runtime.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(self.shared.clone(), name.into());
        let cancel = self.shared.cancel.clone();
        self.shared.tracker.spawn(async move {
            let _running = running;
            cancel.run_until_cancelled(task).await;
        });
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
}
