//! Whether a connection may still be used: it holds a pass of its node's tenure, and the node can end the tenure; and
//! it was opened with a user and a password that are still in use.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::credentials::Seal;

/// The present tenure of one node.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    pass: Mutex<Pass>,
}

/// What a connection took with it when its login began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pass {
    epoch: u64,
    cut: CancellationToken,
    seal: Option<Seal>,
}

impl Pass {
    /// Cancelled when every operation under this pass must end.
    pub(crate) fn cut(&self) -> &CancellationToken {
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
        self.pass.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a connection with `pass` may be given out again.
    pub(crate) fn admits(&self, pass: &Pass) -> bool {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner).epoch == pass.epoch
            && pass.seal.as_ref().is_none_or(Seal::holds)
    }

    /// No connection from before is given out again; operations in flight go on.
    pub(crate) fn renew(&self) {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner).epoch += 1;
    }

    /// No connection from before is given out again, and operations in flight end at once.
    pub(crate) fn cut(&self) {
        let old = {
            let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
            pass.epoch += 1;
            std::mem::take(&mut pass.cut)
        };
        old.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewing_spares_what_is_in_flight_and_cutting_reaches_it_also_later() {
        let tenure = Tenure::default();
        let old = tenure.pass();
        tenure.renew();
        assert!(!tenure.admits(&old) && !old.cut().is_cancelled());
        tenure.cut();
        assert!(old.cut().is_cancelled());
        assert!(tenure.admits(&tenure.pass()) && !tenure.pass().cut().is_cancelled());
    }
}
