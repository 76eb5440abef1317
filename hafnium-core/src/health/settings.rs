//! The configuration of health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Section;

/// The section `health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthSettings {
    /// The checks of shared dependencies that count for readiness, by name, such as `postgres.ledger`. Default: none,
    /// because when a shared database is down, un-readying every replica makes it worse.
    pub ready_requires: Vec<String>,
}

impl Section for HealthSettings {
    const KEY: &'static str = "health";
    type Settings = Self;
}
