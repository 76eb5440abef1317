//! Secrets that are of use together only, such as a certificate and its key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::select_all;
use tokio::sync::watch;

use super::handle::Secret;
use super::slot::{Values, read_together};
use super::value::Value;

/// What is made of several secrets that change together. The last good one stays in use when what comes does not fit
/// together; the health check `secrets` is degraded then.
///
/// ```
/// use hafnium_core::secret::{Bundle, Secret};
///
/// let user = Secret::new("app");
/// let password = Secret::new("hunter2");
/// let bundle = Bundle::new([user, password], |values| {
///     Ok::<_, String>(values.iter().map(|value| value.expose().len()).sum::<usize>())
/// })?;
/// assert_eq!(*bundle.current(), 10);
/// # Ok::<(), hafnium_core::secret::BundleError>(())
/// ```
pub struct Bundle<T> {
    secrets: Vec<Secret>,
    read: Read<T>,
    current: Mutex<Arc<T>>,
    seen: tokio::sync::Mutex<Vec<watch::Receiver<Values>>>,
}

type Read<T> = Box<dyn Fn(&[Arc<Value>]) -> Result<T, String> + Send + Sync>;

/// Why several secrets are of no use together; holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct BundleError {
    /// What does not fit.
    pub reason: String,
}

impl<T> Bundle<T> {
    /// What `read` makes of the values of `secrets`, which it is given in that order, all of one instant. Its errors
    /// are shown: they must hold no value.
    ///
    /// # Errors
    /// What `read` says of the values that are there now.
    pub fn new<E: fmt::Display>(
        secrets: impl IntoIterator<Item = Secret>,
        read: impl Fn(&[Arc<Value>]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, BundleError> {
        let secrets: Vec<_> = secrets.into_iter().collect();
        let read: Read<T> = Box::new(move |values| read(values).map_err(|error| error.to_string()));
        let (seen, values) = read_together(|| {
            let seen: Vec<_> = secrets.iter().map(|secret| secret.slot.subscribe()).collect();
            let values: Vec<_> = secrets.iter().map(Secret::current).collect();
            (seen, values)
        });
        let current = read(&values).map_err(|reason| BundleError { reason })?;
        Ok(Self {
            secrets,
            read,
            current: Mutex::new(Arc::new(current)),
            seen: tokio::sync::Mutex::new(seen),
        })
    }

    /// What was made of the last values that fit together. Never waits.
    pub fn current(&self) -> Arc<T> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until one of the secrets changes and makes the whole anew; an error leaves the last good one in use. Waits
    /// for ever for secrets that nothing follows. One caller at a time.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// What `read` says of the values that came.
    pub async fn changed(&self) -> Result<Arc<T>, BundleError> {
        let mut seen = self.seen.lock().await;
        if seen.is_empty() {
            std::future::pending::<()>().await;
        }
        // The senders live in the secrets that are held here, so this can't fail.
        let _ = select_all(seen.iter_mut().map(|values| Box::pin(values.changed()))).await;
        let values: Vec<_> = read_together(|| {
            let current = seen
                .iter_mut()
                .map(|values| values.borrow_and_update().current.clone());
            current.collect()
        });
        let made = (self.read)(&values);
        let rejected = made.as_ref().err().cloned();
        for secret in &self.secrets {
            secret.slot.verdict().rejected.clone_from(&rejected);
        }
        match made {
            Ok(made) => {
                let made = Arc::new(made);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = made.clone();
                Ok(made)
            }
            Err(reason) => Err(BundleError { reason }),
        }
    }
}

impl<T> fmt::Debug for Bundle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.secrets.iter().map(|secret| secret.source().to_string());
        f.debug_struct("Bundle")
            .field("secrets", &sources.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
