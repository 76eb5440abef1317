//! `healthcheck`: asks the running service on this host, for images without a shell.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hafnium_core::admin::AdminSettings;
use hafnium_core::config::{Loader, Section};
use hafnium_core::exit::Exit;

use crate::ending::Ending;

/// For all of it, from the connection to the status; as a kubelet's default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A line of status that is longer is none.
const STATUS_LINE: usize = 256;

/// Exit code 0 when `/livez` of the operator listener answers 200 within a second, however slowly it answers.
pub(crate) fn healthcheck(loader: &Loader) -> Result<Ending, Ending> {
    // The service's dependencies play no part, so their keys may be missing here.
    let config = loader
        .clone()
        .environment_optional()
        .needs([AdminSettings::KEY])
        .load()?;
    let settings = config.get::<AdminSettings>()?;
    let address = SocketAddr::new(loopback(settings.address), settings.port);
    match status(address) {
        Ok(status) if status.split(' ').next() == Some("200") => Ok(Ending::clean()),
        Ok(status) => Err(Ending::new(
            Exit::Failure,
            format!("http://{address}/livez answered {status}"),
        )),
        Err(error) => Err(Ending::new(
            Exit::Failure,
            format!("http://{address}/livez: {error}"),
        )),
    }
}

/// Where a listener on `address` can be reached from this host.
fn loopback(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// The status and its phrase. What comes after them is not waited for.
fn status(address: SocketAddr) -> io::Result<String> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?).map_err(plainly)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(plainly)?;
    let mut line = [0; STATUS_LINE];
    let mut length = 0;
    while let Some(free @ [_, ..]) = line.get_mut(length..) {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(free).map_err(plainly)?;
        length += read;
        let answer = line.get(..length).unwrap_or_default();
        if let Some(end) = answer.iter().position(|byte| *byte == b'\n') {
            return of_line(answer.get(..end).unwrap_or_default());
        }
        if read == 0 {
            break;
        }
    }
    Err(io::Error::other("no HTTP answer"))
}

/// The status in the first line of an answer.
fn of_line(line: &[u8]) -> io::Result<String> {
    let line = String::from_utf8_lossy(line);
    match line.trim_end().split_once(' ') {
        Some((version, status)) if version.starts_with("HTTP/") => Ok(status.to_owned()),
        _ => Err(io::Error::other("no HTTP answer")),
    }
}

/// What is left of the time.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    // A time-out of zero would be none.
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

/// A time-out of a socket is told as what it means.
fn plainly(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        _ => error,
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {TIMEOUT:?}"))
}
