//! The configuration of retries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Duration;
use crate::resilience::budget::RetryBudgetSettings;

/// When and how often a failed call of one dependency is repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetrySettings {
    /// The most attempts, the first one included. Default `3`; `1` never repeats.
    #[schemars(range(min = 1), extend("x-reloadable" = true))]
    pub max_attempts: u32,
    /// The bound of the first pause, which doubles with each attempt. Default `50ms`. Each pause is drawn between zero
    /// and its bound, so that callers that failed together do not come back together.
    #[schemars(extend("x-reloadable" = true))]
    pub backoff: Duration,
    /// The longest bound of a pause. Default `2s`.
    #[schemars(extend("x-reloadable" = true))]
    pub max_backoff: Duration,
    /// The longest `Retry-After` of the dependency that is waited for. Default `2s`; beyond it the error is given back
    /// at once, because the one who waits is better told than held.
    #[schemars(extend("x-reloadable" = true))]
    pub max_retry_after: Duration,
    /// How many retries the dependency gets beside its requests.
    pub budget: RetryBudgetSettings,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            max_retry_after: Duration::from_secs(2),
            budget: RetryBudgetSettings::default(),
        }
    }
}
