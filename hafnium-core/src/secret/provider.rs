//! What a place that lends or keeps secrets must do: AWS Secrets Manager, Vault.
//!
//! A provider only asks its server; when to ask, how long an old value may serve and who is told of a new one is the
//! store's.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::component::BoxFuture;
use crate::deadline::Deadline;

/// A place that secrets are fetched from.
pub trait Provider: Send + Sync + 'static {
    /// The schemes of the references it answers, without the colon, such as `vault` and `vault-db`.
    fn schemes(&self) -> &'static [&'static str];

    /// Fetches what `address` stands for now. `held` is the version in use: a provider that lends renews it where it
    /// can and gives the same version back, or a new credential before the old one ends.
    ///
    /// Bounded by the caller. Cancel-safety: a dropped fetch may have lent a credential that nobody holds; the
    /// provider gives it back in [`Provider::release`].
    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        held: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;

    /// Gives back what was lent, best effort, by `deadline`.
    fn release(&self, deadline: Deadline) -> BoxFuture<'_, ()>;
}

/// What a reference in a configuration points at, such as `vault:kv/ledger#password`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// What stands before the colon, such as `vault`.
    pub scheme: String,
    /// The name or path at the provider.
    pub path: String,
    /// The key within what lies there, after `#`.
    pub key: Option<String>,
}

impl fmt::Display for Address {
    /// As the reference is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.path)?;
        match &self.key {
            Some(key) => write!(f, "#{key}"),
            None => Ok(()),
        }
    }
}

/// Tells one value of a secret from the next, such as the version id of the provider. Holds nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// One answer of a provider.
#[derive(Debug)]
pub struct Fetched {
    /// The value.
    pub material: Material,
    /// Which value this is.
    pub version: Version,
    /// When the provider wants to be asked again at the latest, from now; the store's own interval when `None`.
    pub refresh_after: Option<Duration>,
    /// When this value stops working, from now, unless it is renewed; never when `None`.
    pub expires_after: Option<Duration>,
}

/// The value of a secret: a text, or a user and a password that belong together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Material {
    /// One text.
    Text(SecretString),
    /// A login. Both change together.
    Login {
        /// The user's name, which is no secret by itself.
        user: String,
        /// The password.
        password: SecretString,
    },
}

/// Why a provider gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// What kind of failure it is.
    pub kind: FetchErrorKind,
    /// What was seen, with the address and without any value.
    pub message: String,
}

/// The kinds of failure a store treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// The provider answered that this service may not read it.
    Denied,
    /// There is nothing at that address.
    Missing,
    /// The provider could not answer now; the last value serves on.
    Unavailable,
    /// What lies there can't be used, such as a document without the key that is asked for.
    Invalid,
}
