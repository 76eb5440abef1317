//! The configuration of a breaker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Duration, Ratio};

/// Which calls a closed breaker looks back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerWindow {
    /// Those of the last `window_time`, however many: follows the rate of calls.
    #[default]
    Time,
    /// The last `window_calls`, however old.
    Count,
}

/// When a breaker opens, and how it closes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerSettings {
    /// Which calls are looked back on: `time` or `count`. Default `time`.
    #[schemars(extend("x-reloadable" = true))]
    pub window: BreakerWindow,
    /// How far a `time` window looks back. Default `10s`; kept in tenths.
    #[schemars(extend("x-reloadable" = true))]
    pub window_time: Duration,
    /// How many calls a `count` window holds. Default `100`.
    #[schemars(range(min = 1, max = 10_000), extend("x-reloadable" = true))]
    pub window_calls: u32,
    /// How many calls must be in the window before it may open. Default `20`: a single failure at night is no outage.
    /// A `count` window smaller than that needs to be full only.
    #[schemars(range(min = 1), extend("x-reloadable" = true))]
    pub minimum_calls: u32,
    /// The share of failed calls at which it opens. Default `50%`.
    #[schemars(extend("x-reloadable" = true))]
    pub failure_rate: Ratio,
    /// From how long on a call counts as slow, failed or not. Default: none does.
    #[schemars(extend("x-reloadable" = true))]
    pub slow_call: Option<Duration>,
    /// The share of slow calls at which it opens. Default `80%`.
    #[schemars(extend("x-reloadable" = true))]
    pub slow_rate: Ratio,
    /// How long it refuses calls before it lets probes through. Default `5s`.
    #[schemars(extend("x-reloadable" = true))]
    pub open_for: Duration,
    /// How many probes it lets through at a time, and how many must succeed until it closes. Default `3`.
    #[schemars(range(min = 1), extend("x-reloadable" = true))]
    pub probes: u32,
    /// For how long probes that do not end may hold all places before it opens again. Default `30s`.
    #[schemars(extend("x-reloadable" = true))]
    pub probe_timeout: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: BreakerWindow::Time,
            window_time: Duration::from_secs(10),
            window_calls: 100,
            minimum_calls: 20,
            failure_rate: Ratio::from_percent(50),
            slow_call: None,
            slow_rate: Ratio::from_percent(80),
            open_for: Duration::from_secs(5),
            probes: 3,
            probe_timeout: Duration::from_secs(30),
        }
    }
}
