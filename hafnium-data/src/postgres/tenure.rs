//! Whether a connection may still be used: it holds a pass of its node's tenure, and the node can end the tenure; and
//! it was opened with a user and a password that are still in use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::credentials::Seal;

/// What ends the operations of one tenure, and says why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    shared: Arc<Ending>,
}

#[derive(Debug, Default)]
struct Ending {
    token: CancellationToken,
    reason: OnceLock<&'static str>,
}

impl Cut {
    /// Returns once the tenure has ended, and says why.
    ///
    /// Cancel-safe.
    pub(crate) async fn made(&self) -> &'static str {
        self.shared.token.cancelled().await;
        // Set before the token is cancelled.
        self.shared.reason.get().copied().unwrap_or_default()
    }

    /// Why the tenure has ended, if it has.
    pub(crate) fn is_made(&self) -> Option<&'static str> {
        let made = self.shared.token.is_cancelled();
        made.then(|| self.shared.reason.get().copied().unwrap_or_default())
    }

    fn make(&self, reason: &'static str) {
        let _first = self.shared.reason.set(reason);
        self.shared.token.cancel();
    }
}

/// The present tenure of one node.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    /// Changed under the lock of `cut`, so that a pass fits together; looked at without it, at each use of a connection.
    epoch: AtomicU64,
    cut: Mutex<Cut>,
}

/// What a connection took with it when its login began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pass {
    epoch: u64,
    cut: Cut,
    seal: Option<Seal>,
}

impl Pass {
    /// Made when every operation under this pass must end.
    pub(crate) fn cut(&self) -> &Cut {
        &self.cut
    }

    /// The pass of a connection that was opened with the credentials of `seal`.
    pub(crate) fn sealed(self, seal: Seal) -> Self {
        Self {
            seal: Some(seal),
            ..self
        }
    }
}

impl Tenure {
    /// A pass for a login that begins now.
    pub(crate) fn pass(&self) -> Pass {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        Pass {
            epoch: self.epoch.load(Ordering::Acquire),
            cut: cut.clone(),
            seal: None,
        }
    }

    /// Whether a connection with `pass` may be given out again.
    pub(crate) fn admits(&self, pass: &Pass) -> bool {
        self.epoch.load(Ordering::Acquire) == pass.epoch && pass.seal.as_ref().is_none_or(Seal::holds)
    }

    /// No connection from before is given out again; operations in flight go on.
    pub(crate) fn renew(&self) {
        let _cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// No connection from before is given out again, and operations in flight end at once; `reason` is the end of their
    /// error's text.
    pub(crate) fn cut(&self, reason: &'static str) {
        let old = {
            let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
            self.epoch.fetch_add(1, Ordering::AcqRel);
            std::mem::take(&mut *cut)
        };
        old.make(reason);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn renewing_spares_what_is_in_flight_and_cutting_reaches_it_also_later_with_its_reason() {
        let tenure = Tenure::default();
        let old = tenure.pass();
        let made = |pass: &Pass| pass.cut().made().now_or_never();
        tenure.renew();
        assert!(!tenure.admits(&old) && made(&old).is_none());
        tenure.cut("its name has moved");
        tenure.cut("the client is closing");
        assert_eq!(made(&old), Some("its name has moved"));
        assert!(tenure.admits(&tenure.pass()) && made(&tenure.pass()).is_none());
    }
}
