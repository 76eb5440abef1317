//! Where a service stands: the keys `region`, `zone`, `cell` and `role`; and how private its data is.

use schemars::JsonSchema;
use serde::Deserialize;

use super::effective::Config;
use super::environment::Environment;
use super::problem::Problem;

/// The longest name, as that of a Kubernetes label.
const LONGEST: usize = 63;

/// Where this process stands among its replicas. All parts are optional and only describe, as yet.
///
/// An empty name counts as not set: the downward API gives one for a label that a node does not have.
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
    /// How many replicas run at most, those that a rolling update adds included, where that is decided: `check`
    /// compares the connections that they open with what the servers allow.
    #[schemars(range(min = 1))]
    pub replicas: Option<u32>,
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

impl Role {
    /// The name as it is written: `active`, `passive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl Place {
    /// This place without names that are empty.
    pub(super) fn without_blanks(mut self) -> Self {
        for name in [&mut self.region, &mut self.zone, &mut self.cell] {
            name.take_if(|name| name.is_empty());
        }
        self
    }
}

/// A problem for each name that is none: they become labels and parts of host names.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let keys = ["region", "zone", "cell", "privacy_tier"];
    let entries = keys.iter().filter_map(|key| config.entry(key));
    let wrong = entries.filter(|entry| !entry.value.is_empty() && !is_name(&entry.value));
    let problems = wrong.map(|entry| {
        let reason =
            "expected letters, digits, `-`, `_` and `.`, at most 63, a letter or digit first and last";
        Problem::new(entry.key, reason)
            .at(entry.origin)
            .found(format!("{:?}", entry.value))
    });
    problems.collect()
}

fn is_name(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().last()];
    text.len() <= LONGEST
        && ends.iter().flatten().all(char::is_ascii_alphanumeric)
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
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
    /// How private the data is that the service handles, such as `public`, `internal` or `restricted`: an attribute of
    /// its traces and metrics.
    privacy_tier: Option<String>,
    #[schemars(flatten)]
    place: Place,
}
