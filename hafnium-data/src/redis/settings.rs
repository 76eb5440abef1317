//! The configuration of one Redis store.

use hafnium_core::config::{Alias, Config, Duration, Problem, Section};
use hafnium_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::target::Target;

/// What is below `redis.<name>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisSettings {
    /// Where the store is: `redis://host:6379/0`, `rediss://…` (feature `tls`), or
    /// `redis+sentinel://user:password@s1:26379,s2:26379/mymaster/0`, whose credentials are those of the data nodes.
    #[schemars(extend("x-url-schemes" = ["redis", "rediss", "redis+sentinel"]))]
    pub url: Secret,
    /// How long one command may take, waiting for a primary included; default 1 s. A nearer deadline of the caller
    /// wins.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

impl RedisSettings {
    /// The store at `url` with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            timeout: timeout(),
        }
    }

    /// What the types alone can't say is wrong with `redis.<name>`; give it to
    /// [`Loader::check`](hafnium_core::config::Loader::check).
    pub fn problems(config: &Config, name: &str) -> Vec<Problem> {
        let Some(partial) = config.partial_named::<Self>(name, &[("url", "redis://store")]) else {
            return Vec::new();
        };
        let wrong = Target::parse(partial.settings.url.current().expose()).err();
        partial.problems(wrong.map(|error| ("url", error.to_string())))
    }
}

impl Section for RedisSettings {
    const KEY: &'static str = "redis";
    type Settings = Self;
    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "REDIS_URL",
            key: "url",
        }]
    }
}
