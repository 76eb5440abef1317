//! From PEM texts to what rustls serves with.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::http::{ClientCertificate, TlsSettings, TlsVersion};
use crate::secret::{Secret, Value, read_together};

static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];
static SINCE_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Why a value can't be used. Names the key below `http`, and repeats nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub(super) struct Fault {
    pub(super) key: &'static str,
    pub(super) reason: String,
}

impl Fault {
    fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}

/// The secrets behind a configuration of rustls, and what does not change.
pub(super) struct Texts {
    certificate: Secret,
    key: Secret,
    client_ca: Option<Secret>,
    client_certificate: ClientCertificate,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// What serves new handshakes.
pub(super) struct Material {
    pub(super) config: Arc<ServerConfig>,
    /// When the service's own certificate ends, in seconds since 1970.
    ends: i64,
}

/// How a time relates to the end of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// It ends in that many seconds.
    For(u64),
    /// It ended.
    Ended,
}

impl Texts {
    pub(super) fn of(settings: &TlsSettings) -> Result<Self, Fault> {
        let certificate = settings.certificate.clone();
        let missing = "missing beside the other keys of http.tls";
        let certificate = certificate.ok_or(Fault::new("tls.certificate", missing))?;
        let key = settings
            .key
            .clone()
            .ok_or(Fault::new("tls.key", "missing beside tls.certificate"))?;
        Ok(Self {
            certificate,
            key,
            client_ca: settings.client_ca.clone(),
            client_certificate: settings.client_certificate,
            versions: match settings.minimum_version {
                TlsVersion::V1_3 => &ONLY_1_3,
                TlsVersion::V1_2 => &SINCE_1_2,
            },
        })
    }

    /// Certificate, key, and the CA of clients where there is one.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let secrets = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        secrets.into_iter().flatten().cloned().collect()
    }

    /// What is wrong with the values of now: of each by itself, and when all can be read, of all together.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let ca = self.client_ca.as_ref();
        let each = [
            certificates("tls.certificate", self.certificate.current().expose()).err(),
            private_key(self.key.current().expose()).err(),
            ca.and_then(|ca| roots(ca.current().expose()).err()),
        ];
        let each: Vec<_> = each.into_iter().flatten().collect();
        if !each.is_empty() {
            return each;
        }
        let secrets = self.secrets();
        let values = read_together(|| secrets.iter().map(Secret::current).collect::<Vec<_>>());
        self.read(&values).err().into_iter().collect()
    }

    /// What the values of [`Texts::secrets`] are good for. The error names the key and repeats nothing of a value.
    pub(super) fn read(&self, values: &[Arc<Value>]) -> Result<Material, Fault> {
        let [certificate, key, client_ca @ ..] = values else {
            return Err(Fault::new("tls.key", "missing beside tls.certificate"));
        };
        let chain = certificates("tls.certificate", certificate.expose())?;
        let ends = chain.first().and_then(|own| ends(own));
        let ends = ends.ok_or(Fault::new(
            "tls.certificate",
            "the first certificate can't be read",
        ))?;
        let key = private_key(key.expose())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| Fault::new("tls.minimum_version", error.to_string()))?;
        let builder = match client_ca.first() {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = roots(ca.expose())?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = match self.client_certificate {
                    ClientCertificate::Required => verifier,
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| Fault::new("tls.client_ca", error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // rustls' own words may name what is in the key; these don't.
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => "does not belong to tls.certificate",
                _ => "can't be used with tls.certificate",
            })
            .map_err(|reason| Fault::new("tls.key", reason))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Material {
            config: Arc::new(config),
            ends,
        })
    }
}

impl Material {
    pub(super) fn validity(&self) -> Validity {
        let left = self.ends.saturating_sub(ASN1Time::now().timestamp());
        match u64::try_from(left) {
            Ok(left) if left > 0 => Validity::For(left),
            _ => Validity::Ended,
        }
    }
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Fault::new(key, "there is no certificate in PEM form")),
        Err(_) => Err(Fault::new(key, "the PEM text is damaged")),
    }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| Fault::new("tls.key", "there is no private key in PEM form"))
}

fn roots(pem: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", pem)? {
        roots
            .add(certificate)
            .map_err(|_| Fault::new("tls.client_ca", "a certificate can't be read"))?;
    }
    Ok(roots)
}

fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
