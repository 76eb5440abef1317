//! A claimed port: in use by nobody else, and refusing connections until it is served.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "tls")]
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use super::settings::HttpSettings;
use crate::component::StartError;
#[cfg(feature = "tls")]
use crate::tls::Acceptor;

/// How many connections may wait in the kernel to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// A claimed address. Connections are refused until it is served, so that nobody waits on a service that still starts.
pub struct Bound {
    socket: TcpSocket,
    address: SocketAddr,
    name: &'static str,
    /// What accepts TLS on it, where that is known already.
    #[cfg(feature = "tls")]
    tls: Option<Arc<Acceptor>>,
}

impl HttpSettings {
    /// Claims the address of the application listener.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] that names `http.port` and the address when it is in use or not ours.
    pub fn bind(&self) -> Result<Bound, StartError> {
        Bound::claim("http", self.address, self.port)
    }
}

impl Bound {
    /// Claims an address for the listener of the section `name`.
    pub(crate) fn claim(name: &'static str, address: IpAddr, port: u16) -> Result<Self, StartError> {
        let address = SocketAddr::new(address, port);
        let claim = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Without it a restarted process waits for the old connections' TIME_WAIT; it never shares a port that
            // is being listened on.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok(Self {
                socket,
                address,
                name,
                #[cfg(feature = "tls")]
                tls: None,
            })
        };
        claim().map_err(|error| refused(name, address, &error))
    }

    /// The claimed address, with the port that was taken where the configured one is 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The same address, on which `acceptor` is to accept TLS.
    #[cfg(feature = "tls")]
    pub(super) fn accepting(mut self, acceptor: Option<Arc<Acceptor>>) -> Self {
        self.tls = acceptor;
        self
    }

    #[cfg(feature = "tls")]
    pub(super) fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.tls.clone()
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn listen(self) -> Result<TcpListener, StartError> {
        let (name, address) = (self.name, self.address);
        self.socket
            .listen(BACKLOG)
            .map_err(|error| refused(name, address, &error))
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn refused(name: &'static str, address: SocketAddr, error: &io::Error) -> StartError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{name}.port: {address} is in use by another process; choose another port or stop it")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{name}.address: {} is not an address of this machine",
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{name}.port: not permitted to listen on {address}; choose a port above 1023")
        }
        _ => format!("{name}.port: can't listen on {address}: {error}"),
    };
    StartError::configuration(name, reason)
}
