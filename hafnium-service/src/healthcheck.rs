//! `healthcheck`: asks the running service on this host, for images without a shell.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use hafnium_core::admin::AdminSettings;
use hafnium_core::config::{Loader, Section};
use hafnium_core::exit::Exit;

use crate::ending::Ending;

/// As a kubelet's default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Exit code 0 when `/livez` of the operator listener answers 200 within a second.
pub(crate) fn healthcheck(loader: &Loader) -> Result<Ending, Ending> {
    // The service's dependencies play no part, so their keys may be missing here.
    let config = loader
        .clone()
        .environment_optional()
        .needs([AdminSettings::KEY])
        .load()?;
    // Only where to ask matters: a token that lies elsewhere is not fetched for it.
    let settings = config.early::<AdminSettings>()?;
    let address = SocketAddr::new(loopback(settings.address), settings.port);
    match status(address) {
        Ok(status) if status.starts_with("200") => Ok(Ending::clean()),
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

fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    // An answer from memory is far below this; more would be somebody else's.
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let status = answer
        .lines()
        .next()
        .and_then(|line| line.split_once(' '))
        .map(|(_, status)| status.to_owned());
    status.ok_or_else(|| std::io::Error::other("no HTTP answer"))
}
