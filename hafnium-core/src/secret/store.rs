//! The store that keeps secrets up to date.

use std::fmt;

/// The secrets of a service: fetches those kept elsewhere, follows all of them, and knows their age. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets {}

impl Secrets {
    /// A store without providers that follows nothing.
    pub fn none() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
