//! The certificate of the moment: follows its secrets, and stays the last good one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::material::{Material, Texts, Validity};
use crate::health::{Check, Registration, Registry, Status};
use crate::secret::{Secret, Watch};

/// Certificate and key are two secrets: one rotation may change them one after the other.
const SETTLE: Duration = Duration::from_millis(200);

/// From then on the health check says that a certificate ends: whoever renews it is late by any custom.
const ENDS_SOON: u64 = 24 * 3600;

pub(super) struct Rotation {
    texts: Texts,
    current: ArcSwap<Material>,
    /// Why what the secrets hold now is not in force.
    refused: Mutex<Option<String>>,
}

impl Rotation {
    pub(super) fn begin(texts: Texts) -> Result<Arc<Self>, String> {
        let material = texts.build()?;
        if material.validity() == Validity::Ended {
            tracing::warn!("http.tls.certificate has ended; clients will refuse it");
        }
        Ok(Arc::new(Self {
            texts,
            current: ArcSwap::from_pointee(material),
            refused: Mutex::default(),
        }))
    }

    /// What the next handshake works with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    /// Follows the secrets for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut certificate = self.texts.certificate.watch();
        let mut key = self.texts.key.watch();
        let mut client_ca = self.texts.client_ca.as_ref().map(Secret::watch);
        // What changed before the watch began is not told by it.
        self.renew();
        loop {
            tokio::select! {
                _ = certificate.changed() => {}
                _ = key.changed() => {}
                () = changed(&mut client_ca) => {}
            }
            tokio::time::sleep(SETTLE).await;
            self.renew();
        }
    }

    /// Puts what the secrets hold in force, if it is good.
    fn renew(&self) {
        let renewed = self.texts.build().and_then(|new| match new.validity() {
            Validity::Ended if self.current.load().validity() != Validity::Ended => {
                Err("tls.certificate: has ended already".to_owned())
            }
            _ => Ok(new),
        });
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(new) => {
                self.current.store(Arc::new(new));
                *refused = None;
                tracing::info!("the certificate of the listener is read again");
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "a new certificate can't be used; the last good one stays in force"
                );
                *refused = Some(reason);
            }
        }
    }

    fn status(&self) -> Status {
        let refused = self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match (refused, self.current.load().validity()) {
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

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => {
            watch.changed().await;
        }
        None => std::future::pending().await,
    }
}
