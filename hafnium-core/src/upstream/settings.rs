//! The configuration of one upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Duration, Ratio, Section};
use crate::resilience::{BreakerSettings, BulkheadSettings, RetrySettings};
use crate::tls::client::ClientTls;

/// What is below `upstream.<name>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UpstreamSettings {
    /// Where the upstream is: `http://host:port/base` or `https://…` (feature `tls`). All addresses of the host's name
    /// are used.
    #[schemars(extend("x-url-schemes" = ["http", "https"]))]
    pub url: String,
    /// How long one call may take, with all its attempts, pauses and its answer's body; default `5s`. A nearer deadline
    /// of the caller wins.
    #[serde(default = "timeout")]
    #[schemars(extend("x-reloadable" = true))]
    pub timeout: Duration,
    /// How long one attempt of a call may take. Default: as long as the call.
    #[serde(default)]
    #[schemars(extend("x-reloadable" = true))]
    pub attempt_timeout: Option<Duration>,
    /// How long an attempt may spend on opening connections, TLS included; default `1s`. While other addresses are left to
    /// try, one gets half of what remains of it.
    #[serde(default = "connect_timeout")]
    #[schemars(extend("x-reloadable" = true))]
    pub connect_timeout: Duration,
    /// Which protocol is spoken: `auto` (HTTP/2 where the server agrees to it during TLS, else HTTP/1.1), `http1`, or
    /// `http2` without asking. Default `auto`.
    #[serde(default)]
    pub protocol: Protocol,
    /// The largest body of an answer that is read; default `8MiB`. Beyond it the call fails.
    #[serde(default = "body_limit")]
    #[schemars(extend("x-reloadable" = true))]
    pub body_limit: ByteSize,
    /// How long a connection is kept without use; default `30s`. Must be shorter than the server keeps it, or it closes
    /// what is just being used.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Duration,
    /// How many connections per address are kept without use; default `32`.
    #[serde(default = "max_idle")]
    pub max_idle: usize,
    /// How often the addresses of the name are looked up, with a tenth of jitter; default `10s`. A failed connection
    /// looks them up at once. (The system's resolver does not say how long its answer holds.)
    #[serde(default = "resolve_interval")]
    #[schemars(extend("x-reloadable" = true))]
    pub resolve_interval: Duration,
    /// When an address that fails gets nothing for a while.
    #[serde(default)]
    pub ejection: EjectionSettings,
    /// When a failed call is repeated.
    #[serde(default)]
    pub retry: RetrySettings,
    /// When nothing is called for a while.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// How many calls run at a time.
    #[serde(default)]
    pub bulkhead: BulkheadSettings,
    /// When a second attempt starts beside a slow one.
    #[serde(default)]
    pub hedge: HedgeSettings,
    /// Trusted authorities, and our certificate. Needs the feature `tls`.
    #[serde(default)]
    pub tls: ClientTls,
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(1)
}

fn body_limit() -> ByteSize {
    ByteSize::from_mebibytes(8)
}

fn idle_timeout() -> Duration {
    Duration::from_secs(30)
}

fn max_idle() -> usize {
    32
}

fn resolve_interval() -> Duration {
    Duration::from_secs(10)
}

impl UpstreamSettings {
    /// The upstream at `url` with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: timeout(),
            attempt_timeout: None,
            connect_timeout: connect_timeout(),
            protocol: Protocol::default(),
            body_limit: body_limit(),
            idle_timeout: idle_timeout(),
            max_idle: max_idle(),
            resolve_interval: resolve_interval(),
            ejection: EjectionSettings::default(),
            retry: RetrySettings::default(),
            breaker: BreakerSettings::default(),
            bulkhead: BulkheadSettings::default(),
            hedge: HedgeSettings::default(),
            tls: ClientTls::default(),
        }
    }
}

impl Section for UpstreamSettings {
    const KEY: &'static str = "upstream";
    type Settings = Self;
}

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/2 where the server agrees to it during TLS, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without asking, also without TLS.
    Http2,
}

/// When an address that fails gets nothing for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EjectionSettings {
    /// After how many failures in a row an address is ejected: connections that are not taken or break, answers that do
    /// not come in time, and 500, 502, 503 without `Retry-After`, 504. Default `5`.
    #[schemars(range(min = 1), extend("x-reloadable" = true))]
    pub failures: u32,
    /// How long the first ejection lasts; default `5s`. Each further one lasts twice as long.
    #[schemars(extend("x-reloadable" = true))]
    pub time: Duration,
    /// The longest ejection; default `5m`.
    #[schemars(extend("x-reloadable" = true))]
    pub max_time: Duration,
    /// The share of addresses that may be ejected at a time; default `50%`. An upstream with one address never loses it.
    #[schemars(extend("x-reloadable" = true))]
    pub max_share: Ratio,
}

impl Default for EjectionSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(5),
            max_time: Duration::from_secs(300),
            max_share: Ratio::from_percent(50),
        }
    }
}

/// When an idempotent call gets a second attempt beside the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HedgeSettings {
    /// `off`; `fixed`, after `after`; or `p95`, when an attempt takes longer than 95 of the last 100 answers did, and
    /// not before `after`. Default `off`.
    #[schemars(extend("x-reloadable" = true))]
    pub mode: HedgeMode,
    /// How long the first attempt may take by itself; default `100ms`.
    #[schemars(extend("x-reloadable" = true))]
    pub after: Duration,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self {
            mode: HedgeMode::Off,
            after: Duration::from_millis(100),
        }
    }
}

/// When an idempotent call is hedged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HedgeMode {
    /// Never.
    #[default]
    Off,
    /// After a fixed time.
    Fixed,
    /// After the time in which 95 % of the latest answers came.
    P95,
}
