//! The configuration of one Redis store.

use hafnium_core::config::{Alias, Duration, Section};
use hafnium_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

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
