//! Where a node is at present: an address, a socket, or a name whose address may change.
//!
//! Of a name, logins go to the address at which the probe found the node last, so that nothing is logged in to that
//! was not looked at; before that every address is tried. With TLS the name stays what the certificate is checked
//! against, see the module `wire`.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::certificates::Files;
use super::credentials::refuses;
use super::resolver::Resolver;
use super::url::Host;

/// One place to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Spot {
    /// What the URL says: an address or a socket. Never moves.
    Written,
    /// An address of the name.
    At(IpAddr),
}

/// The address of one node.
pub(crate) struct Address {
    name: Option<Named>,
    port: u16,
    files: Files,
    current: Mutex<Option<Spot>>,
    settled: watch::Sender<bool>,
}

struct Named {
    name: String,
    resolver: Arc<Resolver>,
}

/// All spots of a node, for a while.
#[derive(Debug)]
pub(crate) struct Spots {
    pub(crate) all: Vec<Spot>,
    /// When the name has to be asked for again; `None` without a name.
    pub(crate) until: Option<Instant>,
}

impl Address {
    pub(crate) fn new(host: &Host, resolver: &Arc<Resolver>) -> Self {
        let written = host.name.starts_with('/') || host.name.parse::<IpAddr>().is_ok();
        // Elsewhere sqlx can't be given an address besides the name.
        let resolvable = cfg!(target_os = "linux") && !written;
        Self {
            name: resolvable.then(|| Named {
                name: host.name.clone(),
                resolver: resolver.clone(),
            }),
            port: host.port,
            files: Files::default(),
            current: Mutex::new(None),
            settled: watch::Sender::new(false),
        }
    }

    /// Logins read `files`.
    pub(crate) fn reading(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// All places the node may be at now.
    ///
    /// Cancel-safe.
    pub(crate) async fn spots(&self) -> Result<Spots, sqlx::Error> {
        let Some(Named { name, resolver }) = &self.name else {
            return Ok(Spots {
                all: vec![Spot::Written],
                until: None,
            });
        };
        let answer = resolver.resolve(name).await;
        let answer = answer.map_err(|error| std::io::Error::new(std::io::ErrorKind::NotFound, error))?;
        Ok(Spots {
            all: answer.addresses.iter().copied().map(Spot::At).collect(),
            until: Some(answer.until),
        })
    }

    /// Where the probe found the node last.
    pub(crate) fn current(&self) -> Option<Spot> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The probe found the node at `spot`: logins go there from now on.
    pub(crate) fn found_at(&self, spot: Spot) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(spot);
    }

    /// Whether the node is a primary at its present spot, as far as is known. While it is not, the other addresses of
    /// the name are tried too.
    pub(crate) fn settle(&self, settled: bool) {
        self.settled
            .send_if_modified(|now| std::mem::replace(now, settled) != settled);
    }

    pub(crate) fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// A connection to the node, or to the first of its spots that takes one when it was never found; `budget` for
    /// each.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect(
        &self,
        options: &PgConnectOptions,
        budget: Duration,
    ) -> Result<PgConnection, sqlx::Error> {
        let spots = match self.current() {
            Some(spot) => vec![spot],
            None => self.spots().await?.all,
        };
        let mut last = None;
        for spot in spots {
            let silent = || {
                let silent = format!("no answer to the login within {budget:?}");
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, silent).into())
            };
            let login = tokio::time::timeout(budget, self.connect_at(options, spot)).await;
            match login.unwrap_or_else(|_| silent()) {
                Ok(link) => return Ok(link),
                // Another address would say the same, and the account might get locked.
                Err(error) if refuses(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound).into()))
    }

    /// A connection to one spot.
    pub(crate) async fn connect_at(
        &self,
        options: &PgConnectOptions,
        spot: Spot,
    ) -> Result<PgConnection, sqlx::Error> {
        // Boxed: it is large, and rare beside what waits for it.
        let login = Box::pin(self.log_in(options, spot)).await;
        login.map_err(|error| self.files.explain(error))
    }

    async fn log_in(&self, options: &PgConnectOptions, spot: Spot) -> Result<PgConnection, sqlx::Error> {
        match spot {
            Spot::Written => options.connect().await,
            Spot::At(address) => {
                if matches!(options.get_ssl_mode(), PgSslMode::Disable) {
                    options.clone().host(&address.to_string()).connect().await
                } else {
                    #[cfg(target_os = "linux")]
                    return super::wire::log_in(options, SocketAddr::new(address, self.port)).await;
                    #[cfg(not(target_os = "linux"))]
                    return options.connect().await;
                }
            }
        }
    }
}
