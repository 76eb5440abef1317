//! What a place that lends or keeps secrets must do: AWS Secrets Manager, Vault.
//!
//! A provider only asks its server; when to ask, how long an old value may serve and who is told of a new one is the
//! store's.

use std::fmt::{self, Write};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::component::BoxFuture;
use crate::deadline::Deadline;
use crate::metrics::Metrics;

/// A place that secrets are fetched from.
pub trait Provider: Send + Sync + 'static {
    /// The schemes of the references it answers, without the colon, such as `vault` and `vault-db`.
    fn schemes(&self) -> &'static [&'static str];

    /// Fetches what `address` stands for now. `held` is the version in use: a provider that lends renews it where it
    /// can and gives the same version back, or a new credential before the old one ends. It is none when nothing is in
    /// use yet, and when what is in use was refused where it is used: then a provider that lends gives another one.
    ///
    /// Bounded by the caller. Cancel-safety: a dropped fetch may have lent a credential that nobody holds; the
    /// provider gives it back in [`Provider::release`].
    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        held: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;

    /// Counts what it does to `metrics` from now on; called once there are some. Does nothing unless it is provided.
    fn observe(&self, metrics: &Metrics) {
        let _ = metrics;
    }

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

impl Version {
    /// A version for a value whose source knows none: a hash of it under a key that this process alone has, so that
    /// nobody can try passwords against what a log or a metric shows.
    pub(crate) fn of(material: &Material) -> Self {
        static KEY: LazyLock<[u64; 2]> = LazyLock::new(|| {
            // Keyed by the operating system's randomness, which is all that is wanted of it here.
            [RandomState::new().hash_one(0), RandomState::new().hash_one(1)]
        });
        let mut hash = Sha256::new();
        for key in *KEY {
            hash.update(key.to_le_bytes());
        }
        match material {
            Material::Text(text) => hash.update(text.expose_secret()),
            Material::Login { user, password } => {
                hash.update((user.len() as u64).to_le_bytes());
                hash.update(user);
                hash.update(password.expose_secret());
            }
        }
        Self(format!("{OF_CONTENT}{}", hex(&hash.finalize()[..16])))
    }

    /// What is shown of it: the id that the provider gave, at most 64 characters of it, so that it can be compared with
    /// the provider's own page; eight digits of a hash, keyed by this process, where the source knows no ids.
    pub fn shown(&self) -> &str {
        let (text, most) = match self.0.strip_prefix(OF_CONTENT) {
            Some(hash) => (hash, 8),
            None => (self.0.as_str(), 64),
        };
        text.get(..text.floor_char_boundary(most)).unwrap_or(text)
    }
}

/// Before the hash of a value whose source knows no versions.
const OF_CONTENT: &str = "content-";

impl Version {
    /// A hash of it as a number, for a metric.
    pub(crate) fn number(&self) -> u32 {
        let hash = Sha256::digest(&self.0);
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

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
    /// When the value was last changed at the provider, where it says so; its age counts from there.
    pub changed: Option<SystemTime>,
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
