//! Who a client proved to be.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Who a client of mutual TLS proved to be; in the extensions of its requests. Cheap to clone.
///
/// ```
/// use axum::Extension;
/// use hafnium_core::problem::Problem;
/// use hafnium_core::tls::PeerIdentity;
/// use http::StatusCode;
///
/// async fn transfer(Extension(peer): Extension<PeerIdentity>) -> Result<&'static str, Problem> {
///     let payments = "spiffe://bank.example/ns/payments/sa/payments";
///     match peer.uris().iter().any(|uri| uri == payments) {
///         true => Ok("done"),
///         false => Err(Problem::of(StatusCode::FORBIDDEN)),
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::post(transfer));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    identity: Arc<Identity>,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    subject: String,
    dns: Vec<String>,
    uris: Vec<String>,
    fingerprint: String,
}

impl PeerIdentity {
    /// What the client's own certificate (DER) says. The handshake has verified it. None where it can't be read.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        let mut fingerprint = String::with_capacity(64);
        for byte in Sha256::digest(certificate) {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Some(Self {
            identity: Arc::new(Identity {
                subject: parsed.subject().to_string(),
                dns,
                uris,
                fingerprint,
            }),
        })
    }

    /// The subject, such as `CN=payments, O=Bank`.
    pub fn subject(&self) -> &str {
        &self.identity.subject
    }

    /// The host names among its alternative names.
    pub fn dns(&self) -> &[String] {
        &self.identity.dns
    }

    /// The URIs among its alternative names, such as a SPIFFE id.
    pub fn uris(&self) -> &[String] {
        &self.identity.uris
    }

    /// The SHA-256 of the certificate, as 64 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.identity.fingerprint
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}
