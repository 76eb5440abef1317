//! The proof that a frozen server is frozen: the kernel still accepts TCP for it, and it says nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::Error;

/// Connects, sends `request` and listens for as long as `listen`, which is what is given back. `fault` is what is to be
/// proven.
///
/// # Errors
/// [`Error::Unproven`] when no connection is accepted, or when anything comes.
pub(crate) async fn silence(
    fault: &str,
    address: impl ToSocketAddrs,
    request: &[u8],
    listen: Duration,
) -> Result<Duration, Error> {
    let knock = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut byte = [0];
        Ok::<_, std::io::Error>(tokio::time::timeout(listen, stream.read(&mut byte)).await)
    };
    match knock.await {
        Ok(Err(_elapsed)) => Ok(listen),
        Ok(Ok(read)) => Err(Error::unproven(fault, format!("it answered or closed: {read:?}"))),
        Err(error) => Err(Error::unproven(
            fault,
            format!("it accepted no connection: {error}"),
        )),
    }
}
