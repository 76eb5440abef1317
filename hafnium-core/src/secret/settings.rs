//! The configuration of secrets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Duration, Problem, Section};

/// The section `secrets`: how secrets are kept up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecretsSettings {
    /// How long after it was fetched a secret that is kept elsewhere is asked for again, with up to 10 % less of
    /// jitter, unless its source says when. Default `5m`, at least `1s`.
    pub refresh: Duration,
    /// How long the last value may serve while its source can't be reached before the health check `secrets` is
    /// degraded. Default `30m`.
    pub stale_grace: Duration,
    /// The age at which a secret that was not changed makes the health check `secrets` degraded. Default `90d`.
    pub maximum_age: Duration,
    /// Other maximum ages, by the key of the secret, such as `"postgres.ledger.url" = "30d"`. Default: none.
    pub maximum_ages: BTreeMap<String, Duration>,
}

impl Default for SecretsSettings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5 * 60),
            stale_grace: Duration::from_secs(30 * 60),
            maximum_age: Duration::from_secs(90 * 24 * 3600),
            maximum_ages: BTreeMap::new(),
        }
    }
}

impl Section for SecretsSettings {
    const KEY: &'static str = "secrets";
    type Settings = Self;
}

impl SecretsSettings {
    /// What the types alone can't say is wrong; give it to [`Loader::check`](crate::config::Loader::check).
    pub fn problems(config: &Config) -> Vec<Problem> {
        let Some(partial) = config.partial::<Self>(&[]) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if partial.settings.refresh < Duration::from_secs(1) {
            let reason = "too often: a source is asked at most once a second; use 1s or more";
            found.push(("refresh".to_owned(), reason.to_owned()));
        }
        for key in partial.settings.maximum_ages.keys() {
            let known = config.entry(key).is_some_and(|entry| entry.secret.is_some());
            if !known {
                let secrets: Vec<_> = config.secrets().into_iter().map(|one| one.key).collect();
                let reason = match secrets.as_slice() {
                    [] => "no secret has this key, and none is set".to_owned(),
                    keys => format!("no secret has this key; those that are set: {}", keys.join(", ")),
                };
                found.push((format!("maximum_ages.{key}"), reason));
            }
        }
        partial.problems(found)
    }

    /// The maximum age of the secret at this key.
    pub(super) fn maximum_age(&self, key: &str) -> std::time::Duration {
        self.maximum_ages.get(key).unwrap_or(&self.maximum_age).get()
    }
}
