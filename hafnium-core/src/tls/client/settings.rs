//! The keys of TLS towards a server.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;

/// What is below `tls` of a dependency. Everything is optional: by default the system's roots are trusted and no
/// certificate of our own is shown.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientTls {
    /// The certificates to trust instead of the system's roots, as PEM. Default: the system's roots, or those that
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    pub ca: Option<Secret>,
    /// Our certificate with its chain, as PEM, for servers that ask for one. Needs `key`. Default: none.
    pub certificate: Option<Secret>,
    /// The private key of `certificate`, as PEM (PKCS#8, PKCS#1 or SEC1). Default: none.
    pub key: Option<Secret>,
    /// The name that the server's certificate must carry. Default: the host of the URL.
    pub server_name: Option<String>,
}

impl ClientTls {
    /// Whether anything differs from the default.
    pub fn is_set(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some() || self.server_name.is_some()
    }

    /// What is wrong whatever the certificates are: each key below `tls` with the reason.
    pub(crate) fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        match (&self.certificate, &self.key) {
            (Some(_), None) => faults.push(("key", "missing beside `certificate`")),
            (None, Some(_)) => faults.push(("certificate", "missing beside `key`")),
            _ => {}
        }
        #[cfg(feature = "tls")]
        if let Some(name) = &self.server_name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            faults.push(("server_name", "neither a host name nor an address"));
        }
        faults
    }
}
