//! The runtime that the service owns.

use std::num::NonZeroUsize;

use hafnium_core::config::Section;
use hafnium_core::exit::Exit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A multi-threaded runtime as `settings` say.
pub(crate) fn build(settings: &RuntimeSettings) -> Result<tokio::runtime::Runtime, Ending> {
    // `available_parallelism` reads the affinity mask and the cgroup quota.
    let workers = settings
        .workers
        .map(Ok)
        .unwrap_or_else(std::thread::available_parallelism);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.map_or(1, NonZeroUsize::get))
        .thread_name("service")
        .enable_all()
        .build()
        .map_err(|error| Ending::new(Exit::Failure, format!("the runtime can't be built: {error}")))
}
