//! How the server is reached: over TLS that trusts what the settings say, or in plain text where the address says so.

use super::settings::{VaultError, VaultSettings};
use crate::secret::Secret;
use crate::tls::client::{ConnectError, Connector, TlsClient};

pub(super) fn connector(settings: &VaultSettings) -> Result<Connector, VaultError> {
    let address = settings.address.as_deref().unwrap_or_default();
    if !address.starts_with("https:") {
        return Ok(Connector::plain());
    }
    let mut tls = settings.tls.clone();
    if let Some(path) = &settings.ca {
        if tls.ca.is_some() {
            return Err(VaultError::new(
                "vault.ca",
                "vault.tls.ca is set as well: keep one of them",
            ));
        }
        let pem = std::fs::read_to_string(path).map_err(|error| {
            VaultError::new("vault.ca", format!("the file can't be read ({})", error.kind()))
        })?;
        tls.ca = Some(Secret::new(pem));
    }
    TlsClient::new(&tls)
        .map(Connector::tls)
        .map_err(|error| VaultError::new("vault.tls", error.to_string()))
}

/// Why there was no answer, in one line: what the connector said and its cause, or else the innermost cause, because
/// what stands above it only repeats that the client failed.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    loop {
        if let Some(ours) = last.downcast_ref::<ConnectError>() {
            return match ours {
                ConnectError::Resolve { source, .. } | ConnectError::Refused { source, .. } => {
                    format!("{ours}: {source}")
                }
                _ => ours.to_string(),
            };
        }
        match last.source() {
            Some(source) => last = source,
            None => return last.to_string(),
        }
    }
}
