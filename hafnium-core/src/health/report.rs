//! What is known of all checks at one moment.

use std::sync::Arc;
use std::time::Duration;

use super::check::Scope;
use super::heartbeat::PulseReport;
use super::history::Change;
use super::hysteresis::Health;

/// What is known of all checks and watchdogs at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The checks, in the order they were registered.
    pub checks: Vec<CheckReport>,
    /// The stall watchdogs.
    pub pulses: Vec<PulseReport>,
}

/// What is known of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// Whose health it tells of.
    pub scope: Scope,
    /// Whether it counts for readiness.
    pub counts: bool,
    /// What is believed of it.
    pub health: Health,
    /// What the last run said, where that was not plainly `up`. A check can be up and have a reason: it failed, but
    /// not yet often enough in a row.
    pub reason: Option<String>,
    /// How many runs in a row failed.
    pub failures: u32,
    /// For how long the health has been as it is.
    pub since: Duration,
    /// How long ago the last run ended; `None` before the first one.
    pub last_run: Option<Duration>,
    /// How long the last run took.
    pub took: Duration,
    /// The last changes of the health, at most 16, the latest one last.
    pub history: Arc<[Change]>,
}

impl CheckReport {
    /// A check that is listed for readiness and that no component has registered (yet).
    pub(super) fn missing(name: String) -> Self {
        Self {
            name,
            scope: Scope::Shared,
            counts: true,
            health: Health::Unknown,
            reason: Some("listed in health.ready_requires, but no such check is registered".to_owned()),
            failures: 0,
            since: Duration::ZERO,
            last_run: None,
            took: Duration::ZERO,
            history: Arc::default(),
        }
    }

    /// Whether this check alone would let the process be ready.
    pub fn allows_ready(&self) -> bool {
        !self.counts || self.health.is_working()
    }

    /// Why it is not up; empty when it is.
    pub fn explanation(&self) -> &str {
        match (&self.reason, self.health) {
            (Some(reason), _) => reason,
            (None, Health::Unknown) => "has not run yet",
            (None, Health::Down) => "recovering",
            (None, _) => "",
        }
    }
}

impl Report {
    /// Whether every check that counts for readiness works. A check that has not run yet does not.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(CheckReport::allows_ready)
    }

    /// Whether no watchdog has been silent for too long.
    pub fn is_alive(&self) -> bool {
        self.pulses.iter().all(PulseReport::is_alive)
    }
}
