//! What the store tells of its secrets; never a value.

use std::fmt;
use std::time::Duration;

use super::state::SecretState;
use crate::secret::source::Source;

/// One key of the configuration that holds a secret, and how that secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretReport {
    /// The key, such as `postgres.ledger.url`.
    pub key: String,
    /// Where the value comes from.
    pub source: Source,
    /// The first digits of a hash of the version in use; none before the first value was fetched.
    pub version: Option<String>,
    /// How long ago the value was changed at its source; where that does not say, how long this process has it.
    pub age: Duration,
    /// The age from which on someone should look.
    pub maximum_age: Duration,
    /// How long ago the source last answered; none for what is not asked again.
    pub asked: Option<Duration>,
    /// How it stands.
    pub state: SecretState,
    /// Why, where its source or its consumers said so.
    pub reason: Option<String>,
}

impl fmt::Display for SecretReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("none");
        write!(
            f,
            "{}: {} from {}, version {version}, {}s old",
            self.key,
            self.state.as_str(),
            self.source,
            self.age.as_secs()
        )?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
