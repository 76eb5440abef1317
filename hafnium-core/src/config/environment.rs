//! Which environment this is, and what deployed us.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::origin::Origin;
use super::sources::Sources;

/// The environment a service runs in. Only `dev` may use dev services and literal secrets in files; of other lax
/// settings, such as logs for people or TLS that is off, the command `check` warns in `prod` and `dr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// A developer's machine or a test: `dev`, `development`.
    Dev,
    /// Before production: `staging`, `stage`.
    Staging,
    /// Production: `prod`, `production`.
    Prod,
    /// The stand-in for production: `dr`, `disaster-recovery`.
    Dr,
}

/// Every accepted spelling, the canonical one of each environment first.
const NAMES: [(&str, Environment); 8] = [
    ("dev", Environment::Dev),
    ("staging", Environment::Staging),
    ("prod", Environment::Prod),
    ("dr", Environment::Dr),
    ("development", Environment::Dev),
    ("stage", Environment::Staging),
    ("production", Environment::Prod),
    ("disaster-recovery", Environment::Dr),
];

impl Environment {
    pub(crate) const ALL: [Self; 4] = [Self::Dev, Self::Staging, Self::Prod, Self::Dr];

    /// The canonical name, also in file names: `dev`, `staging`, `prod`, `dr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Prod => "prod",
            Self::Dr => "dr",
        }
    }

    /// Whether this is a developer's machine or a test.
    pub fn is_dev(self) -> bool {
        self == Self::Dev
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;
    fn from_str(name: &str) -> Result<Self, UnknownEnvironment> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, environment)| *environment)
            .ok_or(UnknownEnvironment)
    }
}

/// No environment has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of dev, staging, prod, dr")]
pub struct UnknownEnvironment;

impl JsonSchema for Environment {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "environment".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = NAMES.map(|(name, _)| name);
        json_schema!({ "type": "string", "enum": names })
    }
}

/// Why the environment is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// Someone said so.
    Configured(Origin),
    /// Nobody said so and nothing deployed this process, so it is `dev`.
    Undeployed,
    /// Nobody said so, something deployed this process and the command works without it: the rules of `prod` hold.
    Strict,
}

/// What deployed this process, as a variable of its environment shows.
///
/// A bare container shows none of these: `/.dockerenv` is also there on a developer's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// `KUBERNETES_SERVICE_HOST` is set.
    Kubernetes,
    /// `ECS_CONTAINER_METADATA_URI_V4` is set.
    Ecs,
    /// `K_SERVICE` is set (Cloud Run, Knative).
    CloudRun,
    /// `DYNO` is set.
    Heroku,
}

impl Platform {
    const ALL: [Self; 4] = [Self::Kubernetes, Self::Ecs, Self::CloudRun, Self::Heroku];

    /// The variable that shows it.
    pub fn marker(self) -> &'static str {
        match self {
            Self::Kubernetes => "KUBERNETES_SERVICE_HOST",
            Self::Ecs => "ECS_CONTAINER_METADATA_URI_V4",
            Self::CloudRun => "K_SERVICE",
            Self::Heroku => "DYNO",
        }
    }

    pub(super) fn detect(sources: &Sources) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| {
            sources
                .get(platform.marker())
                .is_some_and(|value| !value.is_empty())
        })
    }
}
