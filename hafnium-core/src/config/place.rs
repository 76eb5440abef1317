//! Where a service stands: the keys `region`, `zone`, `cell` and `role`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::environment::Environment;

/// Where this process stands among its replicas. All parts are optional and only describe, as yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Place {
    /// The region, such as `eu-west-1`.
    pub region: Option<String>,
    /// The zone within the region, such as `eu-west-1a`.
    pub zone: Option<String>,
    /// The cell: a closed set of replicas that share nothing with other cells.
    pub cell: Option<String>,
    /// Whether the region takes work.
    #[serde(default)]
    pub role: Role,
}

/// Whether a region takes work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Takes work.
    #[default]
    Active,
    /// Stands by.
    Passive,
}

/// The keys of a service that belong to no section.
#[derive(JsonSchema)]
#[schemars(rename = "service")]
#[allow(
    dead_code,
    reason = "only its schema is used; Place and the environment are read apart"
)]
pub(super) struct ServiceKeys {
    /// `dev`, `staging`, `prod` or `dr`.
    environment: Option<Environment>,
    #[schemars(flatten)]
    place: Place,
}
