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
use crate::secret::{Secret, Value};

static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];
static SINCE_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

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
    pub(super) fn of(settings: &TlsSettings) -> Result<Self, String> {
        let certificate = settings.certificate.clone();
        let certificate = certificate.ok_or("tls.certificate: missing beside the other keys of http.tls")?;
        let key = settings
            .key
            .clone()
            .ok_or("tls.key: missing beside tls.certificate")?;
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

    /// What the values of [`Texts::secrets`] are good for. The error names the key and repeats nothing of a value.
    pub(super) fn read(&self, values: &[Arc<Value>]) -> Result<Material, String> {
        let [certificate, key, client_ca @ ..] = values else {
            return Err("tls.key: missing beside tls.certificate".to_owned());
        };
        let chain = certificates("tls.certificate", certificate.expose())?;
        let ends = chain.first().and_then(|own| ends(own));
        let ends = ends.ok_or("tls.certificate: the first certificate can't be read")?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| "tls.key: there is no private key in PEM form")?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| format!("tls.minimum_version: {error}"))?;
        let builder = match client_ca.first() {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("tls.client_ca", ca.expose())? {
                    roots
                        .add(certificate)
                        .map_err(|_| "tls.client_ca: a certificate can't be read")?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = match self.client_certificate {
                    ClientCertificate::Required => verifier,
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| format!("tls.client_ca: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // rustls' own words may name what is in the key; these don't.
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => "tls.key: does not belong to tls.certificate",
                _ => "tls.key: can't be used with tls.certificate",
            })?;
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

fn certificates(key: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{key}: there is no certificate in PEM form")),
        Err(_) => Err(format!("{key}: the PEM text is damaged")),
    }
}

fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
