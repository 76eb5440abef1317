//! The runtime that the service owns.

use std::future::Future;
use std::num::NonZeroUsize;

use hafnium_core::config::Section;
use hafnium_core::exit::Exit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::ending::Ending;

/// The section `runtime`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RuntimeSettings {
    /// Worker threads. Default: the processors this process may use, with the cgroup's CPU limit counted in.
    pub workers: Option<NonZeroUsize>,
}

impl Section for RuntimeSettings {
    const KEY: &'static str = "runtime";
    type Settings = Self;
}

/// A runtime whose end waits for nothing: a look-up of a name that hangs blocks a thread of it, and can't be cancelled.
pub(crate) struct Runtime {
    handle: Handle,
    held: Option<tokio::runtime::Runtime>,
}

impl Runtime {
    /// Runs `work` to its end on this thread.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.shutdown_background();
        }
    }
}

/// A multi-threaded runtime as `settings` say.
pub(crate) fn build(settings: &RuntimeSettings) -> Result<Runtime, Ending> {
    // `available_parallelism` reads the affinity mask and the cgroup quota.
    let workers = settings
        .workers
        .map(Ok)
        .unwrap_or_else(std::thread::available_parallelism);
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.map_or(1, NonZeroUsize::get))
        .thread_name("service")
        .enable_all()
        .build()
        .map_err(|error| Ending::new(Exit::Failure, format!("the runtime can't be built: {error}")))?;
    Ok(Runtime {
        handle: built.handle().clone(),
        held: Some(built),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_runtime_that_is_dropped_waits_for_no_thread_that_blocks() {
        let runtime = build(&RuntimeSettings::default()).unwrap();
        let (begun, begins) = std::sync::mpsc::channel();
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_secs(20));
            });
        });
        begins.recv().unwrap();
        let dropping = Instant::now();
        drop(runtime);
        assert!(dropping.elapsed() < Duration::from_secs(5));
    }
}
