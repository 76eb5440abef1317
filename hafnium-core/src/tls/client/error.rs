//! Why there is no connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::classify::{Classify, Fault, Outcome};

/// Why what was configured below `tls` can't be used. Names the key, never repeats a value.
#[cfg(feature = "tls")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
#[non_exhaustive]
pub struct TlsError {
    /// The key below `tls`: `ca`, `certificate`, `key` or `server_name`.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(feature = "tls")]
impl TlsError {
    pub(super) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}

/// Why no connection was opened. Nothing was sent in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL can't be connected to.
    #[error("{0}")]
    Url(&'static str),
    /// The name has no address now.
    #[error("no address of {host}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The server did not take the connection.
    #[error("no connection to {address}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection took too long to open.
    #[error("no connection to {address} within {limit:?}")]
    Timeout {
        /// The address.
        address: SocketAddr,
        /// How long it may take, TLS included.
        limit: Duration,
    },
    /// The server's certificate is not to be trusted, or the handshake failed otherwise.
    #[error("no TLS with {address} as {name}: {reason}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// The name that its certificate must carry.
        name: String,
        /// What is wrong, and what to look at.
        reason: String,
        /// What rustls said.
        source: io::Error,
    },
}

impl Classify for ConnectError {
    fn outcome(&self) -> Outcome {
        Outcome::NotRun
    }
    /// Everything but what only another configuration can mend.
    fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. } | Self::Refused { .. } | Self::Timeout { .. }
        )
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Url(_) => Fault::Service,
            _ => Fault::Dependency,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "upstream.url",
            Self::Resolve { .. } => "upstream.resolve",
            Self::Refused { .. } => "upstream.connect",
            Self::Timeout { .. } => "upstream.connect_timeout",
            Self::Tls { .. } => "upstream.tls",
        }
    }
}
