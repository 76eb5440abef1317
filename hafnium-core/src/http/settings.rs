//! The configuration of the application listener.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    pub body_limit: ByteSize,
    /// How long a client may take from the first to the last byte of a request's head, and a fresh connection to its
    /// first byte. Default `10s`; then the connection is closed.
    pub header_timeout: Duration,
    /// How long a request may take until its answer begins. Default `30s`; then the answer is 504, and the handler is
    /// dropped. It is also the [`Deadline`](crate::Deadline) of everything the handler calls.
    pub request_timeout: Duration,
    /// How long a kept connection may be idle. Default `75s`: longer than the 60 s of the usual load balancers, which
    /// would otherwise send into a connection that is just being closed.
    pub idle_timeout: Duration,
    /// How many connections are served at a time. Default `10000`; more wait in the kernel's queue.
    pub max_connections: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8000,
            body_limit: ByteSize::from_mebibytes(2),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 10_000,
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
