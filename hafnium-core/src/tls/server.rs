//! TLS on a listener: handshakes in their time, under a certificate that follows its source.

mod material;
mod rotation;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::material::Texts;
use self::rotation::Rotation;
use super::identity::PeerIdentity;
use crate::component::StartError;
use crate::context::Context;
use crate::health::Registration;
use crate::http::TlsSettings;
use crate::metrics::Counter;

/// A client that shook hands in the moment of the stop may still finish.
const LAST_HANDSHAKES: Duration = Duration::from_millis(500);

/// Accepts TLS under the certificate of the moment.
pub(crate) struct Acceptor {
    rotation: Arc<Rotation>,
    timeout: Duration,
    failures: Counter,
    _check: Registration,
}

impl Acceptor {
    /// An acceptor that follows the secrets of `settings` while the service runs.
    pub(crate) fn new(settings: &TlsSettings, cx: &Context) -> Result<Self, StartError> {
        let texts = Texts::of(settings).map_err(|reason| StartError::configuration("http", reason))?;
        let rotation = Rotation::begin(texts).map_err(|reason| StartError::configuration("http", reason))?;
        let check = Rotation::check(&rotation, cx.health());
        cx.tasks().spawn("http.tls", rotation.clone().follow());
        Ok(Self {
            rotation,
            timeout: settings.handshake_timeout.get(),
            failures: cx.metrics().counter(
                "hafnium.http.tls.handshake_failures",
                "{handshake}",
                "TLS handshakes that failed or took too long",
            ),
            _check: check,
        })
    }

    /// What is wrong with certificate, key and CA as they are now: each key below `http` with the reason.
    pub(crate) fn faults(settings: &TlsSettings) -> Vec<(&'static str, String)> {
        let faults = match Texts::of(settings) {
            Ok(texts) => texts.faults(),
            Err(fault) => vec![fault],
        };
        faults
            .into_iter()
            .map(|fault| (fault.key, fault.reason))
            .collect()
    }

    /// The stream after its handshake, and who the client proved to be. None when it failed, took too long, or `stop`
    /// or `cut` came.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        stop: &CancellationToken,
        cut: &CancellationToken,
    ) -> Option<(TlsStream<TcpStream>, Option<PeerIdentity>)> {
        let acceptor = TlsAcceptor::from(self.rotation.current());
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_HANDSHAKES).await;
        };
        let shaken = tokio::select! {
            biased;
            () = cut.cancelled() => return None,
            shaken = tokio::time::timeout(self.timeout, acceptor.accept(stream)) => shaken,
            () = late => return None,
        };
        let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match shaken {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates();
                let identity = chain.and_then(|chain| PeerIdentity::of(chain.first()?));
                Some((stream, identity))
            }
            Err(error) => {
                // A port scan or a health check of a load balancer that only connects is no failure.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    self.failures.add(1);
                }
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
        }
    }
}
