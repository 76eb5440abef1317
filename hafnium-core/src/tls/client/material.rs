//! From PEM texts to what rustls works with.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::TlsError;

/// A configuration from PEM texts; HTTP/2 is offered before HTTP/1.1.
pub(super) fn client_config(
    ca: Option<&str>,
    certificate: Option<&str>,
    key: Option<&str>,
) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(pem) => given_roots(pem)?,
        None => system_roots()?,
    };
    let provider: Arc<CryptoProvider> = aws_lc_rs::default_provider().into();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new("ca", error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (certificate, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates("certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| TlsError::new("key", "there is no private key in PEM form"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::new("certificate", mismatch(&error)))?
        }
        (Some(_), None) => return Err(TlsError::new("key", "missing beside `certificate`")),
        (None, Some(_)) => return Err(TlsError::new("certificate", "missing beside `key`")),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// rustls' own words may name what is in the key; these don't.
fn mismatch(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "does not belong to `key`".to_owned(),
        _ => "can't be used together with `key`".to_owned(),
    }
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::new(key, "there is no certificate in PEM form")),
        Err(_) => Err(TlsError::new(key, "the PEM text is damaged")),
    }
}

fn given_roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", pem)? {
        roots
            .add(certificate)
            .map_err(|_| TlsError::new("ca", "a certificate can't be read"))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (_, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(TlsError::new(
            "ca",
            "the system has no trusted roots; install its ca-certificates or set `ca`",
        )),
    }
}
