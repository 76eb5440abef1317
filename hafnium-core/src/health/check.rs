//! What a health check is, apart from how it is run.

use std::time::Duration;

/// Whose health a check tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// This process alone. A failing critical own check makes it not ready.
    Own,
    /// A dependency that other replicas share. Informational for `readyz`: when a shared database is down,
    /// un-readying every replica makes it worse.
    Shared,
}

/// What one run of a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// All is well.
    Up,
    /// Works, but someone should look; says why.
    Degraded(String),
    /// Does not work; says why.
    Down(String),
}

/// A named check with its limits. Made by [`Check::own`] or [`Check::shared`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Check {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) critical: bool,
    pub(crate) timeout: Duration,
    pub(crate) period: Duration,
    pub(crate) fall: u32,
    pub(crate) rise: u32,
}

impl Check {
    /// The name in probes, reports and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A critical check of this process itself: while it is down the process is not ready.
    pub fn own(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scope: Scope::Own,
            critical: true,
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(5),
            fall: 3,
            rise: 2,
        }
    }

    /// A check of a dependency that other replicas share: informational unless configuration lists it.
    pub fn shared(name: impl Into<String>) -> Self {
        Self {
            scope: Scope::Shared,
            ..Self::own(name)
        }
    }

    /// Reported, but never makes the process not ready.
    pub fn informational(mut self) -> Self {
        self.critical = false;
        self
    }

    /// How long one run may take; default 1 s. A run that takes longer has failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The time between two runs; default 5 s, with ± 10 % of jitter.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How many failures in a row make the check down (default 3), and how many successes make it up again
    /// (default 2). Zero counts as one.
    pub fn thresholds(mut self, fall: u32, rise: u32) -> Self {
        self.fall = fall.max(1);
        self.rise = rise.max(1);
        self
    }

    /// Whether a failure makes the process not ready, given the shared checks that configuration lists.
    pub(crate) fn counts(&self, required: &[String]) -> bool {
        match self.scope {
            Scope::Own => self.critical,
            Scope::Shared => required.contains(&self.name),
        }
    }
}
