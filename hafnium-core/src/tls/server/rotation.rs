//! The certificate of the moment: follows its secrets, and stays the last good one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use super::material::{Material, Texts, Validity};
use crate::health::{Check, Registration, Registry, Status};
use crate::secret::Bundle;

/// From then on the health check says that a certificate ends: whoever renews it is late by any custom.
const ENDS_SOON: u64 = 24 * 3600;

pub(super) struct Rotation {
    bundle: Bundle<Material>,
    /// Why what the secrets hold now is not in force.
    refused: Mutex<Option<String>>,
}

impl Rotation {
    pub(super) fn begin(texts: Texts) -> Result<Arc<Self>, String> {
        let secrets = texts.secrets();
        // At the start there is nothing better than a certificate that has ended; later there may be.
        let begun = Arc::new(AtomicBool::new(false));
        let serving = begun.clone();
        let bundle = Bundle::new(secrets, move |values| {
            let material = texts.read(values).map_err(|fault| fault.to_string())?;
            match material.validity() {
                Validity::Ended if serving.load(Ordering::Relaxed) => {
                    Err("tls.certificate: has ended already".to_owned())
                }
                _ => Ok(material),
            }
        });
        let bundle = bundle.map_err(|error| error.reason)?;
        begun.store(true, Ordering::Relaxed);
        if bundle.current().validity() == Validity::Ended {
            tracing::warn!("http.tls.certificate has ended; clients will refuse it");
        }
        Ok(Arc::new(Self {
            bundle,
            refused: Mutex::default(),
        }))
    }

    /// What the next handshake works with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.bundle.current().config.clone()
    }

    /// Follows the secrets for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            let refused = match self.bundle.changed().await {
                Ok(_) => {
                    tracing::info!("the listener has a new certificate");
                    None
                }
                Err(error) => {
                    tracing::error!(%error, "a new certificate can't be used; the last good one stays in force");
                    Some(error.reason)
                }
            };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        }
    }

    fn status(&self) -> Status {
        let refused = self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match (refused, self.bundle.current().validity()) {
            (Some(reason), Validity::For(_)) => {
                Status::Degraded(format!("{reason}; the last good pair is in force"))
            }
            (Some(reason), Validity::Ended) => {
                Status::Degraded(format!("{reason}; the last good certificate has ended"))
            }
            (None, Validity::Ended) => Status::Degraded("the certificate has ended".to_owned()),
            (None, Validity::For(left)) if left < ENDS_SOON => {
                Status::Degraded(format!("the certificate ends in {} h", left / 3600))
            }
            (None, Validity::For(_)) => Status::Up,
        }
    }

    /// Tells `health` how it stands. Never takes the service out: the last good pair serves.
    pub(super) fn check(this: &Arc<Self>, health: &Registry) -> Registration {
        let this = this.clone();
        let check = Check::own("http.tls").informational().thresholds(1, 1);
        health.register(check, move || std::future::ready(this.status()))
    }
}
