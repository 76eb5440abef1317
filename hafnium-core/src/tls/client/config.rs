//! The configuration of rustls that follows its secrets.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::error::TlsError;
use super::material::client_config;
use super::settings::ClientTls;
use crate::secret::Secret;

/// What TLS towards one dependency works with. Cheap to clone; clones share what they follow.
///
/// A rotated certificate, key or CA is used from the next connection on. Certificate and key are read together: while
/// one of them is new and the other old, the last good pair serves on.
#[derive(Clone)]
pub struct TlsClient {
    shared: Arc<Shared>,
}

struct Shared {
    texts: Texts,
    server_name: Option<ServerName<'static>>,
    current: ArcSwap<Built>,
}

/// The secrets behind a configuration.
struct Texts {
    ca: Option<Secret>,
    certificate: Option<Secret>,
    key: Option<Secret>,
}

impl Texts {
    fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let text =
            |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.current().expose().to_owned());
        let (ca, certificate, key) = (text(&self.ca), text(&self.certificate), text(&self.key));
        client_config(ca.as_deref(), certificate.as_deref(), key.as_deref()).map(Arc::new)
    }
}

/// One configuration, and which it is.
struct Built {
    config: Arc<ClientConfig>,
    generation: u64,
}

impl TlsClient {
    /// Reads roots, certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] when one of them can't be used, or a certificate lacks its key.
    pub fn new(settings: &ClientTls) -> Result<Self, TlsError> {
        let server_name = settings.server_name.clone().map(ServerName::try_from).transpose();
        let texts = Texts {
            ca: settings.ca.clone(),
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
        };
        let built = Built {
            config: texts.build()?,
            generation: 0,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                texts,
                server_name: server_name
                    .map_err(|_| TlsError::new("server_name", "neither a host name nor an address"))?,
                current: ArcSwap::from_pointee(built),
            }),
        })
    }

    /// Reads roots, certificate and key again.
    ///
    /// # Errors
    /// [`TlsError`] when one of them can't be used; the last good ones serve on.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let built = Built {
            config: self.shared.texts.build()?,
            generation: self.generation() + 1,
        };
        self.shared.current.store(Arc::new(built));
        Ok(())
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.shared.current.load().config.clone()
    }

    /// Counts the configurations there were; rises with each rotation.
    pub fn generation(&self) -> u64 {
        self.shared.current.load().generation
    }

    /// The name that the server's certificate must carry, where the URL says `host`.
    pub(super) fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match &self.shared.server_name {
            Some(name) => Some(name.clone()),
            None => ServerName::try_from(host.to_owned()).ok(),
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
