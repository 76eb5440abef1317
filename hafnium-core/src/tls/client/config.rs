//! The configuration of rustls that follows its secrets.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::select_all;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::error::TlsError;
use super::material::client_config;
use super::settings::ClientTls;
use crate::secret::{Secret, Value, Version, Watch, read_together};

/// What TLS towards one dependency works with. Cheap to clone; clones share what they follow.
///
/// A rotated certificate, key or CA is used from the next connection on. Certificate and key are read together: while
/// one of them is new and the other old, the last good pair serves on.
#[derive(Clone)]
pub struct TlsClient {
    shared: Arc<Shared>,
}

struct Shared {
    secrets: Secrets,
    server_name: Option<ServerName<'static>>,
    current: ArcSwap<Built>,
}

/// The secrets behind a configuration.
struct Secrets {
    ca: Option<Secret>,
    certificate: Option<Secret>,
    key: Option<Secret>,
}

/// Their values at one moment.
struct Values {
    ca: Option<Arc<Value>>,
    certificate: Option<Arc<Value>>,
    key: Option<Arc<Value>>,
}

type Versions = [Option<Version>; 3];

impl Secrets {
    fn all(&self) -> impl Iterator<Item = &Secret> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten()
    }

    /// All of one instant: never a certificate of which the key is just being published.
    fn current(&self) -> Values {
        let current = |secret: &Option<Secret>| secret.as_ref().map(Secret::current);
        read_together(|| Values {
            ca: current(&self.ca),
            certificate: current(&self.certificate),
            key: current(&self.key),
        })
    }
}

impl Values {
    fn versions(&self) -> Versions {
        [&self.ca, &self.certificate, &self.key]
            .map(|value| value.as_ref().map(|value| value.version().clone()))
    }

    fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        fn text(value: &Option<Arc<Value>>) -> Option<&str> {
            value.as_ref().map(|value| value.expose())
        }
        client_config(text(&self.ca), text(&self.certificate), text(&self.key)).map(Arc::new)
    }
}

/// One configuration.
struct Built {
    config: Arc<ClientConfig>,
    generation: u64,
    /// What was last looked at.
    versions: Versions,
    /// Why that is not what `config` is made of.
    refused: Option<TlsError>,
}

impl TlsClient {
    /// Reads roots, certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] when one of them can't be used, or a certificate lacks its key.
    pub fn new(settings: &ClientTls) -> Result<Self, TlsError> {
        let server_name = settings.server_name.clone().map(ServerName::try_from).transpose();
        let secrets = Secrets {
            ca: settings.ca.clone(),
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
        };
        let values = secrets.current();
        let built = Built {
            config: values.build()?,
            generation: 0,
            versions: values.versions(),
            refused: None,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                secrets,
                server_name: server_name
                    .map_err(|_| TlsError::new("server_name", "neither a host name nor an address"))?,
                current: ArcSwap::from_pointee(built),
            }),
        })
    }

    /// The configuration for the next connection: of the newest certificate, key and CA that can be used.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.look().config.clone()
    }

    /// Counts the configurations there were; rises with each rotation.
    pub fn generation(&self) -> u64 {
        self.look().generation
    }

    /// Why the newest certificate, key or CA is not in use, if it is not.
    pub fn refused(&self) -> Option<TlsError> {
        self.look().refused.clone()
    }

    /// News of rotations.
    pub fn watch(&self) -> TlsWatch {
        TlsWatch {
            client: self.clone(),
            secrets: self.shared.secrets.all().map(Secret::watch).collect(),
            seen: self.generation(),
        }
    }

    /// Follows the secrets: makes a new configuration when one has another version.
    fn look(&self) -> Arc<Built> {
        let built = self.shared.current.load_full();
        let values = self.shared.secrets.current();
        let versions = values.versions();
        if built.versions == versions {
            return built;
        }
        let next = match values.build() {
            Ok(config) => Built {
                config,
                generation: built.generation + 1,
                versions,
                refused: None,
            },
            Err(error) => {
                tracing::warn!(%error, "new TLS material can't be used, the last good one serves on");
                Built {
                    config: built.config.clone(),
                    generation: built.generation,
                    versions,
                    refused: Some(error),
                }
            }
        };
        let next = Arc::new(next);
        // Another look at the same time came to the same result.
        self.shared.current.store(next.clone());
        next
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

/// Tells of rotations. Made by [`TlsClient::watch`].
pub struct TlsWatch {
    client: TlsClient,
    secrets: Vec<Watch>,
    /// The generation that was told of.
    seen: u64,
}

impl TlsWatch {
    /// Waits until the configuration is another one; for ever where nothing can change.
    ///
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let generation = self.client.generation();
            if generation != self.seen {
                self.seen = generation;
                return;
            }
            if self.secrets.is_empty() {
                return std::future::pending().await;
            }
            let news = self.secrets.iter_mut().map(|secret| Box::pin(secret.changed()));
            select_all(news).await;
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
