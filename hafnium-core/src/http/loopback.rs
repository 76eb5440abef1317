//! A connection of the listener to itself: a healthy operator port says nothing about this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::health::Heartbeat;

/// How often the listener connects to itself, how long that may take, and when failing to fails `livez`: after three
/// failures in a row.
const LOOPBACK: Duration = Duration::from_secs(10);
const LOOPBACK_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const LOOPBACK_LIMIT: Duration = Duration::from_secs(35);

/// Connects to the listener itself from time to time.
pub(super) async fn loopback(address: SocketAddr, heartbeat: Heartbeat) {
    let target = SocketAddr::new(
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        },
        address.port(),
    );
    let mut ticks = tokio::time::interval(LOOPBACK);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(LOOPBACK_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(_)) => heartbeat.beat(),
            Ok(Err(error)) => tracing::warn!(%target, %error, "the listener refuses connections"),
            Err(_) => tracing::warn!(%target, "the listener takes no connections"),
        }
    }
}
