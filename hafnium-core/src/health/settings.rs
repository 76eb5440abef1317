//! The configuration of health.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paths::ProbePaths;
use crate::config::{self, Config, Problem, Section};

/// A shorter limit would restart processes for nothing but a busy machine.
const LEAST_STALL: Duration = Duration::from_secs(1);

/// The section `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthSettings {
    /// The checks of shared dependencies that count for readiness, by name, such as `postgres.ledger`. Default: none,
    /// because when a shared database is down, un-readying every replica makes it worse.
    pub ready_requires: Vec<String>,
    /// How long every worker thread may be blocked before `livez` fails, at least `1s`. Default `10s`.
    pub runtime_stall: config::Duration,
    /// Other paths of the probes.
    pub paths: ProbePaths,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            ready_requires: Vec::new(),
            runtime_stall: config::Duration::from_secs(10),
            paths: ProbePaths::default(),
        }
    }
}

impl Section for HealthSettings {
    const KEY: &'static str = "health";
    type Settings = Self;
}

impl HealthSettings {
    /// What types alone can't say is wrong; give it to [`Loader::check`](config::Loader::check).
    pub fn problems(config: &Config) -> Vec<Problem> {
        match config.partial::<Self>(&[]) {
            Some(partial) => partial.problems(partial.settings.faults()),
            None => Vec::new(),
        }
    }

    /// Each key below `health` with the reason.
    fn faults(&self) -> Vec<(String, String)> {
        let paths = self.paths.problems().into_iter();
        let mut faults: Vec<_> = paths
            .map(|(key, reason)| (format!("paths.{key}"), reason))
            .collect();
        if self.runtime_stall.get() < LEAST_STALL {
            let reason = "must be at least 1s: a machine that is only busy would restart the service";
            faults.push(("runtime_stall".to_owned(), reason.to_owned()));
        }
        faults
    }
}
