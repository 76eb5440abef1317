//! The set of registered checks.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::check::{Check, Status};
use crate::component::BoxFuture;

type Probe = Arc<dyn Fn() -> BoxFuture<'static, Status> + Send + Sync>;

/// The checks of a service. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<Vec<Entry>>>,
}

struct Entry {
    id: u64,
    _check: Check,
    _probe: Probe,
}

impl Registry {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `check`, which runs `probe`. Dropping the returned guard removes it.
    pub fn register<F, Fut>(&self, check: Check, probe: F) -> Registration
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Status> + Send + 'static,
    {
        let probe: Probe = Arc::new(move || Box::pin(probe()));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let id = entries.last().map_or(0, |entry| entry.id + 1);
        entries.push(Entry {
            id,
            _check: check,
            _probe: probe,
        });
        Registration {
            registry: self.clone(),
            id,
        }
    }
}

/// Keeps a check registered; dropping it removes the check.
#[must_use]
pub struct Registration {
    registry: Registry,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = self
            .registry
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.id != self.id);
    }
}
