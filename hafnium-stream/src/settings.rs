//! The configuration of one Kafka cluster.

use std::collections::BTreeMap;

use hafnium_core::config::{Alias, ByteSize, Config, Duration, Problem, Section};
use hafnium_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::native;

/// What is below `kafka.<name>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaSettings {
    /// Where to find the cluster: `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// How long a record may take from `send` to its acknowledgement; default 30 s. A nearer deadline of the caller
    /// ends the caller's wait, not the delivery.
    #[serde(default = "delivery_timeout")]
    pub delivery_timeout: Duration,
    /// How long one request to a broker may stay without an answer before the connection is given up; default 10 s.
    /// It bounds how long a frozen broker is waited for.
    #[serde(default = "request_timeout")]
    pub request_timeout: Duration,
    /// How many records may wait for their acknowledgement; default 10 000. Further ones wait for room.
    #[serde(default = "buffer_records")]
    pub buffer_records: u32,
    /// How many bytes of keys, values and headers may wait for their acknowledgement; default 32 MiB.
    #[serde(default = "buffer_bytes")]
    pub buffer_bytes: ByteSize,
    /// After what silence the group takes a consumer for dead and gives its partitions to others; default 10 s.
    #[serde(default = "session_timeout")]
    pub session_timeout: Duration,
    /// How many bytes one consumer prefetches from the brokers, beyond what its handlers hold; default 16 MiB.
    #[serde(default = "prefetch_bytes")]
    pub prefetch_bytes: ByteSize,
    /// Whether a topic that is used for the first time may be made by the broker, with the broker's defaults. Default
    /// `false`: a misspelled topic is an error. `true` where dev services provided the broker.
    #[serde(default)]
    #[schemars(extend("x-lax" = {"true": "a misspelled topic is made instead of refused"}))]
    pub auto_create_topics: bool,
    /// Further keys of librdkafka, as it names them (`sasl.username`, `fetch.min.bytes`), for what has no key of its
    /// own. A key that would break a guarantee, or that holds a secret, is refused with the reason.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
    /// Keys of librdkafka whose values are secrets (`sasl.password`, `ssl.key.pem`); otherwise as `librdkafka`.
    #[serde(default)]
    pub librdkafka_secrets: BTreeMap<String, Secret>,
}

fn delivery_timeout() -> Duration {
    Duration::from_secs(30)
}

fn request_timeout() -> Duration {
    Duration::from_secs(10)
}

fn buffer_records() -> u32 {
    10_000
}

fn buffer_bytes() -> ByteSize {
    ByteSize::from_mebibytes(32)
}

fn session_timeout() -> Duration {
    Duration::from_secs(10)
}

fn prefetch_bytes() -> ByteSize {
    ByteSize::from_mebibytes(16)
}

impl KafkaSettings {
    /// The cluster at `bootstrap_servers` with every default.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            delivery_timeout: delivery_timeout(),
            request_timeout: request_timeout(),
            buffer_records: buffer_records(),
            buffer_bytes: buffer_bytes(),
            session_timeout: session_timeout(),
            prefetch_bytes: prefetch_bytes(),
            auto_create_topics: false,
            librdkafka: BTreeMap::new(),
            librdkafka_secrets: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// What the types alone can't say is wrong with `kafka.<name>`; give it to
    /// [`Loader::check`](hafnium_core::config::Loader::check).
    pub fn problems(config: &Config, name: &str) -> Vec<Problem> {
        let stand_ins = [("bootstrap_servers", "broker:9092")];
        let Some(partial) = config.partial_named::<Self>(name, &stand_ins) else {
            return Vec::new();
        };
        let faults = native::faults(&partial.settings).into_iter();
        partial.problems(faults.map(|fault| fault.by_key(&partial.settings)))
    }
}

impl Section for KafkaSettings {
    const KEY: &'static str = "kafka";
    type Settings = Self;
    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "KAFKA_BOOTSTRAP_SERVERS",
            key: "bootstrap_servers",
        }]
    }
}

/// Why settings of a cluster can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value is out of its range.
    #[error("{key}: {reason}")]
    Value {
        /// The key below `kafka.<name>`.
        key: &'static str,
        /// What is wrong and what is accepted; never the value.
        reason: &'static str,
    },
    /// A key of librdkafka is not left to the configuration.
    #[error("librdkafka.\"{key}\" can't be set: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// What it would break, or what to set instead.
        reason: &'static str,
    },
    /// librdkafka does not know a key, or does not accept its value.
    #[error("librdkafka.\"{key}\" is not known or its value is not accepted")]
    Unknown {
        /// The key.
        key: String,
    },
    /// librdkafka refused keys together.
    #[error("librdkafka refused the settings: {reason}")]
    Native {
        /// What it said, without values.
        reason: String,
    },
}

impl SettingsError {
    /// The key below `kafka.<name>`, and the reason.
    fn by_key(self, settings: &KafkaSettings) -> (String, String) {
        let place = |key: String| match settings.librdkafka_secrets.contains_key(&key) {
            true => format!("librdkafka_secrets.{key}"),
            false => format!("librdkafka.{key}"),
        };
        match self {
            Self::Value { key, reason } => (key.to_owned(), reason.to_owned()),
            Self::Refused { key, reason } => (place(key), format!("can't be set: {reason}")),
            Self::Unknown { key } => (place(key), "is not known or its value is not accepted".to_owned()),
            Self::Native { reason } => ("librdkafka".to_owned(), format!("refused: {reason}")),
        }
    }
}
