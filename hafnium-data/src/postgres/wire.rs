//! A TCP connection to an address of our choice that sqlx takes for one to the name.
//!
//! sqlx checks the server's certificate against the host that it dials, and dials what it checks: there is no option
//! for an address besides the name. Over a Unix socket it dials the socket and still checks against the host
//! (`connection/tls.rs` and `connection/stream.rs` of sqlx-postgres 0.9). So we dial the address, and carry the bytes
//! between that connection and an abstract Unix socket, which is no file and which nobody else can name in time. TLS
//! runs through it from end to end; what is carried is sealed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::carry;

/// Logs in at `address` by `login`, which dials once, with `options`, whose host remains the name of the server.
///
/// Cancel-safe: dropping it ends the connection.
pub(crate) async fn log_in<T, F>(
    options: &PgConnectOptions,
    address: SocketAddr,
    login: impl FnOnce(PgConnectOptions) -> F,
) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let server = TcpStream::connect(address).await?;
    let wire = Wire::open(options.get_port())?;
    let logging_in = login(wire.options(options));
    tokio::pin!(logging_in);
    let client = tokio::select! {
        ended = &mut logging_in => return ended,
        client = wire.accept() => client?,
    };
    drop(wire);
    tokio::spawn(carry::between(client, server));
    logging_in.await
}

/// A socket that sqlx takes for the server's own.
pub(crate) struct Wire {
    directory: String,
    listener: UnixListener,
}

impl Wire {
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let directory = format!("\0hafnium-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        // The name that sqlx makes of directory and port.
        let listener = UnixListener::bind(format!("{directory}/.s.PGSQL.{port}"))?;
        Ok(Self { directory, listener })
    }

    /// `options` that lead to this socket.
    pub(crate) fn options(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().socket(&self.directory)
    }

    /// The next connection of this process.
    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (client, _) = self.listener.accept().await?;
            if client.peer_cred()?.pid() == i32::try_from(std::process::id()).ok() {
                return Ok(client);
            }
        }
    }

    /// Carries each connection to where `dial` leads then. Those that are carried outlive this.
    pub(crate) async fn carry_all<F>(self, dial: impl Fn() -> F)
    where
        F: Future<Output = Result<TcpStream, sqlx::Error>> + Send + 'static,
    {
        while let Ok(client) = self.accept().await {
            let dialing = dial();
            tokio::spawn(async move {
                match dialing.await {
                    Ok(server) => carry::between(client, server).await,
                    // The connection is closed, which is all that can be told to who opened it.
                    Err(error) => tracing::debug!(%error, "no connection to the server"),
                }
            });
        }
    }
}
