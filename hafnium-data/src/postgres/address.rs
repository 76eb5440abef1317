//! Where a node is at present: an address, a socket, or a name whose address may change.
//!
//! Of a name, logins go to the address at which the probe found the node last, so that nothing is logged in to that
//! was not looked at; before that every address is tried. With TLS the name stays what the certificate is checked
//! against, see the module `wire`.

use std::future::Future;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafnium_core::component::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::certificates::Files;
use super::credentials::refuses;
use super::login_thread;
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

    /// Whether the node was found at `address` last.
    pub(crate) fn is_at(&self, address: IpAddr, port: u16) -> bool {
        self.port == port && self.current() == Some(Spot::At(address))
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
        self.log_in(options, budget, login_thread::dial).await
    }

    /// What `login`, which logs in once, makes of `options` for the node; at which spots and when as by
    /// [`connect`](Self::connect).
    ///
    /// Cancel-safe, if `login` is.
    pub(crate) async fn log_in<T, F>(
        &self,
        options: &PgConnectOptions,
        budget: Duration,
        login: impl Fn(PgConnectOptions) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut last = None;
        for spot in self.likely_spots().await? {
            let silent = || {
                let silent = format!("no answer to the login within {budget:?}");
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, silent).into())
            };
            let login = Box::pin(self.log_in_at(options, spot, &login));
            let login = tokio::time::timeout(budget, login).await;
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
    ///
    /// Cancel-safe.
    pub(crate) async fn connect_at(
        &self,
        options: &PgConnectOptions,
        spot: Spot,
    ) -> Result<PgConnection, sqlx::Error> {
        Box::pin(self.log_in_at(options, spot, &login_thread::dial)).await
    }

    /// Where the node was found last, or else wherever it may be.
    async fn likely_spots(&self) -> Result<Vec<Spot>, sqlx::Error> {
        match self.current() {
            Some(spot) => Ok(vec![spot]),
            None => Ok(self.spots().await?.all),
        }
    }

    async fn log_in_at<T, F>(
        &self,
        options: &PgConnectOptions,
        spot: Spot,
        login: &impl Fn(PgConnectOptions) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let done = match spot {
            Spot::Written => login(options.clone()).await,
            Spot::At(address) => {
                if matches!(options.get_ssl_mode(), PgSslMode::Disable) {
                    login(options.clone().host(&address.to_string())).await
                } else {
                    #[cfg(target_os = "linux")]
                    let done = super::wire::log_in(options, SocketAddr::new(address, self.port), login).await;
                    #[cfg(not(target_os = "linux"))]
                    let done = login(options.clone()).await;
                    done
                }
            }
        };
        done.map_err(|error| self.files.explain(error))
    }

    /// Options by which any number of connections find the node where it is when each is opened, for as long as what
    /// is returned with them runs: never without a name, which needs none.
    ///
    /// # Errors
    /// When no Unix socket can be had.
    pub(crate) fn lasting(
        self: &Arc<Self>,
        options: PgConnectOptions,
    ) -> std::io::Result<(PgConnectOptions, Option<BoxFuture<'static, ()>>)> {
        #[cfg(target_os = "linux")]
        if self.name.is_some() {
            let wire = super::wire::Wire::open(options.get_port())?;
            let (options, address) = (wire.options(&options), self.clone());
            let dial = move || {
                let address = address.clone();
                async move { address.dial().await }
            };
            return Ok((options, Some(Box::pin(wire.carry_all(dial)))));
        }
        Ok((options, None))
    }

    #[cfg(target_os = "linux")]
    async fn dial(&self) -> Result<TcpStream, sqlx::Error> {
        let addresses = self.likely_spots().await?.into_iter();
        let addresses = addresses.filter_map(|spot| match spot {
            Spot::At(address) => Some(SocketAddr::new(address, self.port)),
            Spot::Written => None,
        });
        Ok(TcpStream::connect(&*addresses.collect::<Vec<_>>()).await?)
    }
}
