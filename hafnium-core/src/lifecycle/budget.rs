//! The time a stop may take, split into phases that must fit into what the platform grants.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config;

/// What is left of the grace period for the verdict and the end of the process itself.
const RESERVE: Duration = Duration::from_secs(2);

/// How long a load balancer outside the cluster, which polls, takes to see that a process leaves.
const EXTERNAL_DELAY: Duration = Duration::from_secs(15);

/// What sends requests to the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LoadBalancer {
    /// The cluster's own services, or nothing: endpoints are followed within a second.
    #[default]
    Cluster,
    /// A load balancer outside the cluster that polls for health: it takes 10 s to 30 s to see a process leave.
    External,
}

/// The section `shutdown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ShutdownSettings {
    /// What sends requests to the service: `cluster` (the default) or `external`, a load balancer that polls for health.
    /// With `external` the drain delay is `15s` unless configured; that needs a grace period of `40s`.
    pub load_balancer: LoadBalancer,
    /// How long to go on serving after the stop was asked for, so that load balancers see it before the listener
    /// closes. Default: `5s` where something deployed the service, `0s` in `dev`; `15s` behind an external load
    /// balancer. Measured on Kubernetes: from 2 s on no request fails.
    #[schemars(extend("x-lax" = {"0s": "requests that were on their way to this replica fail at each stop"}))]
    pub drain_delay: Option<config::Duration>,
    /// How long requests and records under way may take to finish. Default `15s`.
    pub drain: config::Duration,
    /// How long background tasks may take to end. Default `2s`.
    pub tasks: config::Duration,
    /// How long components, such as producers and pools, may take to close. Default `3s`.
    pub components: config::Duration,
    /// How long telemetry may take to be delivered. Default `3s`.
    pub flush: config::Duration,
    /// What the platform grants between SIGTERM and SIGKILL (`terminationGracePeriodSeconds`). Default `30s`. The
    /// phases together must be at least 2 s shorter.
    pub termination_grace: config::Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            load_balancer: LoadBalancer::default(),
            drain_delay: None,
            drain: config::Duration::from_secs(15),
            tasks: config::Duration::from_secs(2),
            components: config::Duration::from_secs(3),
            flush: config::Duration::from_secs(3),
            termination_grace: config::Duration::from_secs(30),
        }
    }
}

impl config::Section for ShutdownSettings {
    const KEY: &'static str = "shutdown";
    type Settings = Self;
}

impl ShutdownSettings {
    /// The budget of these settings; `drain_delay` is used where neither one nor an external load balancer is configured.
    ///
    /// # Errors
    /// [`BudgetError`] when the phases do not fit into the grace period.
    pub fn budget(&self, drain_delay: Duration) -> Result<Budget, BudgetError> {
        let unless_configured = match self.load_balancer {
            LoadBalancer::Cluster => drain_delay,
            LoadBalancer::External => EXTERNAL_DELAY,
        };
        let budget = Budget {
            drain_delay: self.drain_delay.map_or(unless_configured, config::Duration::get),
            drain: self.drain.get(),
            tasks: self.tasks.get(),
            components: self.components.get(),
            flush: self.flush.get(),
        };
        let grace = self.termination_grace.get();
        if budget.total() > grace.saturating_sub(RESERVE) {
            return Err(BudgetError { budget, grace });
        }
        Ok(budget)
    }
}

/// The limits of the phases of a stop, checked against the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// How long to go on serving while already not ready. The only phase that is waited out.
    pub drain_delay: Duration,
    /// At most this long for requests and records under way.
    pub drain: Duration,
    /// At most this long for background tasks.
    pub tasks: Duration,
    /// At most this long for components.
    pub components: Duration,
    /// At most this long for telemetry.
    pub flush: Duration,
}

impl Budget {
    /// All phases together.
    pub fn total(&self) -> Duration {
        [
            self.drain_delay,
            self.drain,
            self.tasks,
            self.components,
            self.flush,
        ]
        .iter()
        .fold(Duration::ZERO, |sum, phase| sum.saturating_add(*phase))
    }
}

/// The phases of a stop take longer than the platform grants. Exit code 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shutdown: the phases add up to {} (drain_delay {} + drain {} + tasks {} + components {} + flush {}), more than \
     shutdown.termination_grace {} - {} = {}; shorten a phase, or raise shutdown.termination_grace together with \
     terminationGracePeriodSeconds of the pod",
    show(.budget.total()), show(.budget.drain_delay), show(.budget.drain), show(.budget.tasks),
    show(.budget.components), show(.budget.flush), show(*.grace), show(RESERVE), show(.grace.saturating_sub(RESERVE))
)]
#[non_exhaustive]
pub struct BudgetError {
    /// The phases as configured.
    pub budget: Budget,
    /// The grace period as configured.
    pub grace: Duration,
}

fn show(duration: Duration) -> config::Duration {
    duration.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_exactly_into_the_default_grace_period() {
        let budget = ShutdownSettings::default()
            .budget(Duration::from_secs(5))
            .unwrap();
        assert_eq!(budget.total(), Duration::from_secs(28));
    }

    #[test]
    fn a_sum_beyond_the_grace_period_is_refused_and_shown() {
        let settings = ShutdownSettings {
            drain_delay: Some(config::Duration::from_secs(15)),
            ..ShutdownSettings::default()
        };
        let error = settings.budget(Duration::ZERO).unwrap_err().to_string();
        assert!(
            error.contains("add up to 38s (drain_delay 15s + drain 15s"),
            "{error}"
        );
        assert!(error.contains("termination_grace 30s - 2s = 28s"), "{error}");
        let wider = ShutdownSettings {
            termination_grace: config::Duration::from_secs(40),
            ..settings
        };
        assert!(wider.budget(Duration::ZERO).is_ok());
    }

    #[test]
    fn behind_an_external_load_balancer_one_key_makes_the_delay_15s_and_asks_for_a_grace_of_40s() {
        let mut settings = ShutdownSettings {
            load_balancer: LoadBalancer::External,
            ..ShutdownSettings::default()
        };
        let refused = settings.budget(Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("drain_delay 15s"), "{refused}");
        settings.termination_grace = config::Duration::from_secs(40);
        let budget = settings.budget(Duration::ZERO).unwrap();
        assert_eq!(
            (budget.drain_delay, budget.total()),
            (EXTERNAL_DELAY, Duration::from_secs(38))
        );
        settings.drain_delay = Some(config::Duration::from_secs(10));
        assert_eq!(
            settings.budget(Duration::ZERO).unwrap().drain_delay,
            Duration::from_secs(10)
        );
    }

    #[test]
    fn what_is_configured_wins_over_what_the_environment_suggests() {
        let settings = ShutdownSettings {
            drain_delay: Some(config::Duration::from_secs(1)),
            ..ShutdownSettings::default()
        };
        let budget = settings.budget(Duration::from_secs(5)).unwrap();
        assert_eq!(budget.drain_delay, Duration::from_secs(1));
    }
}
