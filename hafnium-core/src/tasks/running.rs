//! Which tasks run, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The names of the tasks that run, each with how many of that name do.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Names {
    pub(super) fn all(&self) -> BTreeMap<String, usize> {
        self.lock().clone()
    }

    /// Counts a task under `name` until the guard is dropped.
    pub(super) fn enter(&self, name: &str) -> Running {
        *self.lock().entry(name.to_owned()).or_default() += 1;
        Running {
            names: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Held for a few instructions only, and never over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a task under its name for as long as it lives.
#[derive(Debug)]
pub(super) struct Running {
    names: Names,
    name: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.names.lock();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}
