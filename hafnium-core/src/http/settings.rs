//! The configuration of the application listener.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forwarded::ForwardedBy;
use super::network::Network;
use super::tls_settings::TlsSettings;
use crate::config::{Alias, ByteSize, Duration, Section};

/// The section `http`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpSettings {
    /// The address to listen on. Default `0.0.0.0`; `::` listens on IPv6 and IPv4.
    pub address: IpAddr,
    /// The port. Default `8000`; `0` takes a free one.
    pub port: u16,
    /// The largest request body that is read. Default `2MiB`; beyond it the answer is 413.
    #[schemars(extend("x-reloadable" = true))]
    pub body_limit: ByteSize,
    /// The largest head of a request (all its headers together), at least `8KiB`. Default `32KiB`; beyond it the answer
    /// is 431.
    pub header_limit: ByteSize,
    /// How long a client may take from the first to the last byte of a request's head, and a fresh connection to its
    /// first byte. Default `10s`; then the connection is closed.
    #[schemars(extend("x-reloadable" = true))]
    pub header_timeout: Duration,
    /// How long a client may be silent in the middle of a request's body. Default `10s`; then the answer is 408 and the
    /// connection is closed.
    #[schemars(extend("x-reloadable" = true))]
    pub body_timeout: Duration,
    /// How long a client may take none of the bytes of an answer. Default `30s`; then the connection is cut: a client
    /// that vanished without a word would be waited for until the kernel gives up after a quarter of an hour.
    #[schemars(extend("x-reloadable" = true))]
    pub write_timeout: Duration,
    /// How long a request may take until its answer begins. Default `30s`; then the answer is 504, and the handler is
    /// dropped. It is also the [`Deadline`](crate::Deadline) of everything the handler calls; a caller that says in a
    /// header that it waits less long is believed.
    #[schemars(extend("x-reloadable" = true))]
    pub request_timeout: Duration,
    /// How long a kept connection may be idle. Default `75s`: longer than the 60 s of the usual load balancers, which
    /// would otherwise send into a connection that is just being closed.
    #[schemars(extend("x-reloadable" = true))]
    pub idle_timeout: Duration,
    /// How many connections are served at a time. Default `10000`; more wait in the kernel's queue.
    pub max_connections: u32,
    /// How old a connection may become, ± 10 % so that they do not all end together. Default `30m`, `0s` for any age:
    /// clients that keep connections for ever never notice new replicas. At that age an HTTP/1.1 answer says
    /// `Connection: close` and an HTTP/2 connection gets GOAWAY; requests under way finish.
    pub max_connection_age: Duration,
    /// How many handlers may run at a time. Default `1000`, `0` for any number. More requests wait for up to
    /// `queue_timeout`, at most as many as may run; others are answered 503 with `Retry-After` at once.
    #[schemars(extend("x-reloadable" = true))]
    pub max_concurrent_requests: u32,
    /// How long a request may wait for its turn. Default `500ms`; then the answer is 503 with `Retry-After`. Where the
    /// queue has not been empty for longer than that, each waits only a tenth of it: a queue that stands only makes
    /// all answers late.
    #[schemars(extend("x-reloadable" = true))]
    pub queue_timeout: Duration,
    /// Whether answers are compressed (br, gzip) for clients that accept it. Default `true`. Never event streams, answers
    /// below 1 KiB, pictures and archives, and what is encoded already.
    #[schemars(extend("x-reloadable" = true))]
    pub compression: bool,
    /// The proxies whose word on the client is taken, as networks such as `10.0.0.0/8`. Default none: anyone can write a
    /// header. The rightmost address that is not one of theirs is the client.
    #[schemars(extend("x-reloadable" = true))]
    pub trusted_proxies: Vec<Network>,
    /// Which headers the trusted proxies write: `x-forwarded` (`X-Forwarded-For` and `-Proto`) or `forwarded`
    /// (RFC 7239). Default `x-forwarded`. Only these are read: a proxy passes on what it does not know, so that the
    /// others may be the client's own.
    #[schemars(extend("x-reloadable" = true))]
    pub forwarded_by: ForwardedBy,
    /// Whether the trusted proxies write `X-Forwarded-Host` too. Default `false`: many (an ALB, Envoy as it comes) do not,
    /// and pass on what the client wrote there.
    #[schemars(extend("x-reloadable" = true))]
    pub forwarded_host: bool,
    /// TLS, where a certificate is given.
    pub tls: TlsSettings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8000,
            body_limit: ByteSize::from_mebibytes(2),
            header_limit: ByteSize::from_bytes(32 << 10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            max_connection_age: Duration::from_secs(1800),
            max_concurrent_requests: 1000,
            queue_timeout: Duration::from_millis(500),
            compression: true,
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            forwarded_host: false,
            tls: TlsSettings::default(),
        }
    }
}

impl Section for HttpSettings {
    const KEY: &'static str = "http";
    type Settings = Self;

    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "PORT",
            key: "port",
        }]
    }
}
