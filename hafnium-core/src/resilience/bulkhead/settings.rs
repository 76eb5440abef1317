//! The configuration of a bulkhead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Duration;

/// How many calls run at once, and how many wait for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BulkheadSettings {
    /// How many calls run at once. Default `64`.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-reloadable" = true))]
    pub max_concurrent: u32,
    /// How many calls may wait for a place. Default `64`; more are refused at once.
    #[schemars(extend("x-reloadable" = true))]
    pub max_queued: u32,
    /// How long a call may wait for a place. Default `100ms`; the deadline in force is kept in any case.
    #[schemars(extend("x-reloadable" = true))]
    pub queue_timeout: Duration,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        Self {
            max_concurrent: 64,
            max_queued: 64,
            queue_timeout: Duration::from_millis(100),
        }
    }
}
