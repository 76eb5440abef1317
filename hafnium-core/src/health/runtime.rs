//! The heartbeat of the service's runtime: a task that only beats, and so beats late when no worker gets to it.

use std::time::Duration;

use super::registry::Registry;
use crate::tasks::Tasks;

/// The name of the watchdog, and of the task that beats.
const NAME: &str = "runtime";

impl Registry {
    /// Fails `livez` once no worker of the present runtime got to a task for longer than `limit`.
    ///
    /// Only seen from outside when the probes are answered by a runtime of their own: see
    /// [`Operator`](crate::admin::Operator). Must be called within the tokio runtime that is to be watched.
    pub fn watch_runtime(&self, tasks: &Tasks, limit: Duration) {
        let heartbeat = self.heartbeat(NAME, limit);
        // Four beats fit into a limit, so that one late beat is no stall.
        let beat = (limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        tasks.spawn(NAME, async move {
            let mut beats = tokio::time::interval(beat);
            loop {
                beats.tick().await;
                heartbeat.beat();
            }
        });
    }
}
