//! A TCP connection to an address of our choice that sqlx takes for one to the name.
//!
//! sqlx checks the server's certificate against the host that it dials, and dials what it checks: there is no option
//! for an address besides the name. Over a Unix socket it dials the socket and still checks against the host
//! (`connection/tls.rs` and `connection/stream.rs` of sqlx-postgres 0.9). So we dial the address, and carry the bytes
//! between that connection and an abstract Unix socket, which is no file and which nobody else can name in time. TLS
//! runs through it from end to end; what is carried is sealed.

use std::net::SocketAddr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::net::{TcpStream, UnixListener};

use super::carry;

/// Logs in at `address` with `options`, whose host remains the name of the server.
///
/// Cancel-safe: dropping it ends the connection.
pub(crate) async fn log_in(
    options: &PgConnectOptions,
    address: SocketAddr,
) -> Result<PgConnection, sqlx::Error> {
    let server = TcpStream::connect(address).await?;
    // Only a matter of speed.
    let _ = server.set_nodelay(true);
    let directory = format!("\0hafnium-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    // The name that sqlx makes of directory and port.
    let listener = UnixListener::bind(format!("{directory}/.s.PGSQL.{}", options.get_port()))?;
    let options = options.clone().socket(directory);
    let logging_in = options.connect();
    tokio::pin!(logging_in);
    let client = loop {
        tokio::select! {
            ended = &mut logging_in => return ended,
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                if client.peer_cred()?.pid() == i32::try_from(std::process::id()).ok() {
                    break client;
                }
            }
        }
    };
    drop(listener);
    tokio::spawn(carry::between(client, server));
    logging_in.await
}
