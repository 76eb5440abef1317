//! Opens connections for hyper's clients, over plain TCP and TLS.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::error::ConnectError;
use crate::component::BoxFuture;

/// Default limit of one connection's opening, TLS included.
const LIMIT: Duration = Duration::from_secs(5);

/// A connector for `http` and `https` URLs, as hyper-util's client takes it. Cheap to clone.
///
/// The address is looked up, or one that was given: TLS verifies the name of the URL in both cases.
#[derive(Debug, Clone)]
pub struct Connector {
    address: Option<SocketAddr>,
    limit: Duration,
    #[cfg(feature = "tls")]
    tls: Option<super::TlsClient>,
    #[cfg(feature = "tls")]
    offered: Option<&'static [&'static [u8]]>,
}

impl Connector {
    /// A connector for `http` URLs alone.
    pub fn plain() -> Self {
        Self {
            address: None,
            limit: LIMIT,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            offered: None,
        }
    }

    /// A connector for `http` and `https` URLs.
    #[cfg(feature = "tls")]
    pub fn tls(tls: super::TlsClient) -> Self {
        Self {
            tls: Some(tls),
            ..Self::plain()
        }
    }

    /// Offers only these protocols during TLS, such as `b"http/1.1"`; by default HTTP/2 before HTTP/1.1.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn offering(mut self, protocols: &'static [&'static [u8]]) -> Self {
        self.offered = Some(protocols);
        self
    }

    /// Connects to `address` whatever the URL's host is; the host is still the name that TLS verifies.
    #[must_use]
    pub fn to(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// How long opening may take per address, TLS included. Default 5 s.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Opens a connection for `url`. Addresses are tried in the resolver's order, each within the limit.
    ///
    /// Cancel-safe: a connection that is not yet open is closed.
    ///
    /// # Errors
    /// [`ConnectError`] of the last address that was tried.
    pub async fn connect(&self, url: &Uri) -> Result<Connection, ConnectError> {
        let host = url.host().ok_or(ConnectError::Url("the URL has no host"))?;
        let secure = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(ConnectError::Url("the URL is neither http nor https")),
        };
        if let Some(address) = self.address {
            return self.open(address, host, secure).await;
        }
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let unresolved = |source| ConnectError::Resolve {
            host: host.to_owned(),
            source,
        };
        let addresses = tokio::net::lookup_host((name, port)).await.map_err(unresolved)?;
        let mut last = unresolved(io::ErrorKind::NotFound.into());
        for address in addresses {
            match self.open(address, host, secure).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open(&self, address: SocketAddr, host: &str, secure: bool) -> Result<Connection, ConnectError> {
        tokio::time::timeout(self.limit, async {
            let stream = TcpStream::connect(address)
                .await
                .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
                .map_err(|source| ConnectError::Refused { address, source })?;
            if secure {
                self.secure(stream, address, host).await
            } else {
                Ok(Connection::plain(stream))
            }
        })
        .await
        .unwrap_or(Err(ConnectError::Timeout {
            address,
            limit: self.limit,
        }))
    }

    #[cfg(feature = "tls")]
    async fn secure(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        host: &str,
    ) -> Result<Connection, ConnectError> {
        let Some(tls) = &self.tls else {
            return Err(ConnectError::Url("https needs TLS, and this connector has none"));
        };
        let name = tls.server_name(host).ok_or(ConnectError::Url(
            "the URL's host is no name that a certificate can carry",
        ))?;
        let config = tls.config();
        let offered = match self.offered {
            Some(offered) => offered.iter().map(|protocol| protocol.to_vec()).collect(),
            None => config.alpn_protocols.clone(),
        };
        tokio_rustls::TlsConnector::from(config)
            .with_alpn(offered)
            .connect(name.clone(), stream)
            .await
            .map(Connection::tls)
            .map_err(|source| ConnectError::Tls {
                address,
                name: name.to_str().into_owned(),
                reason: super::explain::explain(&source),
                source,
            })
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, _: TcpStream, _: SocketAddr, _: &str) -> Result<Connection, ConnectError> {
        Err(ConnectError::Url("https needs the feature `tls`"))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Connection;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Connection, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&url).await })
    }
}
