//! The configuration of TLS on the application listener. Its keys are there with and without the feature `tls`.

#[cfg(feature = "tls")]
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bind::Bound;
use super::settings::HttpSettings;
use crate::component::StartError;
use crate::config::Duration;
use crate::context::Context;
use crate::secret::Secret;
#[cfg(feature = "tls")]
use crate::tls::Acceptor;

/// TLS of the application listener, under `http.tls`. Needs the feature `tls`.
///
/// Certificate, key and CA follow their sources: a new pair serves new handshakes at once, and a pair that can't work
/// leaves the last good one in force and degrades the health check `http.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The certificate chain in PEM, the service's own first, usually `file:/…/tls.crt`. Default none: no TLS.
    #[serde(skip_serializing)]
    pub certificate: Option<Secret>,
    /// The key of the certificate in PEM (PKCS#8, PKCS#1 or SEC1), usually `file:/…/tls.key`.
    #[serde(skip_serializing)]
    pub key: Option<Secret>,
    /// The certificates in PEM of those who sign the clients' certificates. Default none: clients need no certificate.
    #[serde(skip_serializing)]
    pub client_ca: Option<Secret>,
    /// Whether a client must have a certificate, where `client_ca` is given. Default `required`.
    pub client_certificate: ClientCertificate,
    /// The oldest version that is spoken: `1.2` or `1.3`. Default `1.2`, for clients that know no better; what is
    /// considered weak in it is never offered.
    pub minimum_version: TlsVersion,
    /// How long a handshake may take. Default `10s`; then the connection is closed.
    pub handshake_timeout: Duration,
}

/// Whether a client must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClientCertificate {
    /// A handshake without one fails.
    #[default]
    Required,
    /// One that is given must be good; the handler sees who has none.
    Optional,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_certificate: ClientCertificate::default(),
            minimum_version: TlsVersion::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl HttpSettings {
    /// What accepts TLS, where it is configured.
    #[cfg(feature = "tls")]
    pub(super) fn acceptor(&self, cx: &Context) -> Result<Option<Arc<Acceptor>>, StartError> {
        if !self.tls.is_configured() {
            return Ok(None);
        }
        Acceptor::new(&self.tls, cx).map(|acceptor| Some(Arc::new(acceptor)))
    }

    /// `bound`, which is to accept TLS where that is configured. From here on the last good certificate serves, whatever
    /// becomes of the files. [`HttpSettings::serve`] does it where nobody did before.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when certificate and key can't work.
    pub fn secure(&self, bound: Bound, cx: &Context) -> Result<Bound, StartError> {
        #[cfg(feature = "tls")]
        let bound = bound.accepting(self.acceptor(cx)?);
        #[cfg(not(feature = "tls"))]
        let _ = cx;
        Ok(bound)
    }
}

impl TlsSettings {
    /// Whether anything of TLS is configured.
    pub(super) fn is_configured(&self) -> bool {
        self.certificate.is_some() || self.key.is_some() || self.client_ca.is_some()
    }

    /// What is wrong whatever the certificates are: each key below `http` with the reason.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        if !self.is_configured() {
            return Vec::new();
        }
        if !cfg!(feature = "tls") {
            // Serving in plain text where TLS was asked for would be worse than not to start.
            return vec![("tls", "this build lacks the feature `tls`".to_owned())];
        }
        let mut faults = Vec::new();
        if self.certificate.is_none() {
            faults.push((
                "tls.certificate",
                "missing beside the other keys of http.tls".to_owned(),
            ));
        }
        if self.key.is_none() {
            faults.push(("tls.key", "missing beside tls.certificate".to_owned()));
        }
        faults
    }

    /// What is wrong with what the secrets hold: each key below `http` with the reason.
    #[cfg(feature = "tls")]
    pub(super) fn material_faults(&self) -> Vec<(&'static str, String)> {
        match self.is_configured() {
            true => Acceptor::faults(self),
            false => Vec::new(),
        }
    }

    /// Nothing is read of them.
    #[cfg(not(feature = "tls"))]
    pub(super) fn material_faults(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
