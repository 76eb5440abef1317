//! A connection to one's own listener from time to time: a healthy operator port says nothing about the main one.
//!
//! The kernel completes connections that nobody accepts, so that connecting alone shows nothing. The connection sends
//! nothing and closes its writing side: whoever accepted it answers that with a close, under TLS too, and without a route
//! or a handler that could wait for a dependency.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::health::Heartbeat;

/// How often.
const PERIOD: Duration = Duration::from_secs(10);

/// How long the listener may take to accept the connection and to close it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// When failing to do so fails `livez`: after three failures in a row.
pub(super) const LOOPBACK_LIMIT: Duration = Duration::from_secs(35);

/// Beats while the listener on `address` takes connections, or is `full`: one at its cap is busy, not wedged. Never ends.
pub(super) async fn loopback(address: SocketAddr, heartbeat: Heartbeat, full: impl Fn() -> bool) {
    let target = SocketAddr::new(reachable(address.ip()), address.port());
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(TIMEOUT, knock(target)).await {
            Ok(Ok(())) => heartbeat.beat(),
            _ if full() => heartbeat.beat(),
            Ok(Err(error)) => tracing::warn!(%target, %error, "the listener refuses connections"),
            Err(_) => tracing::warn!(%target, "the listener takes no connections"),
        }
    }
}

/// Connects, says that nothing will come, and waits for whatever answer that is.
async fn knock(target: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.shutdown().await?;
    match stream.read(&mut [0; 1]).await {
        Ok(_) => Ok(()),
        // Someone accepted it and did not care for manners.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a listener on `address` can be reached from this host.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio::net::TcpListener;

    use super::*;
    use crate::context::Context;
    use crate::http::{HttpSettings, Server};
    #[cfg(feature = "tls")]
    use crate::secret::Secret;

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn who_accepts_and_closes_lives_with_or_without_a_byte() {
        for answer in ["", "\x15\x03\x03"] {
            let (listener, address) = listening().await;
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            knock(address).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_listens_and_never_accepts_is_wedged_although_the_kernel_connects() {
        let (_listener, address) = listening().await;
        let knocked = tokio::time::timeout(Duration::from_millis(300), knock(address)).await;
        assert!(knocked.is_err(), "{knocked:?}");
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_refuses() {
        let (listener, address) = listening().await;
        drop(listener);
        assert!(knock(address).await.is_err());
    }

    /// Whether `livez` is well after so long with a listener that nobody accepts on.
    async fn alive_after(seconds: u64, full: bool) -> bool {
        let (_listener, address) = listening().await;
        let registry = crate::health::Registry::new();
        let heartbeat = registry.heartbeat("http.loopback", LOOPBACK_LIMIT);
        let loopback = tokio::spawn(loopback(address, heartbeat, move || full));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let alive = registry.report().is_alive();
        loopback.abort();
        alive
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_takes_no_connections_fails_livez_after_three_tries_unless_it_is_at_its_cap() {
        assert!(alive_after(34, false).await);
        assert!(!alive_after(36, false).await);
        assert!(alive_after(3600, true).await);
    }

    async fn unasked() {
        unreachable!("nothing was asked")
    }

    /// A served listener, whose routes must not be reached.
    fn served(settings: &HttpSettings) -> Server {
        let mut settings = settings.clone();
        settings.address = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        let router = Router::new().fallback(unasked);
        let bound = settings.bind().unwrap();
        settings.serve(bound, router, &Context::standalone()).unwrap()
    }

    #[tokio::test]
    async fn a_served_listener_closes_the_connection_in_plain_text_and_under_tls() {
        let mut listeners = vec![served(&HttpSettings::default())];
        #[cfg(feature = "tls")]
        {
            let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let mut settings = HttpSettings::default();
            settings.tls.certificate = Some(Secret::new(pair.cert.pem()));
            settings.tls.key = Some(Secret::new(pair.signing_key.serialize_pem()));
            listeners.push(served(&settings));
        }
        for listener in listeners {
            let knocked = tokio::time::timeout(TIMEOUT, knock(listener.local_addr())).await;
            knocked.unwrap().unwrap();
        }
    }
}
