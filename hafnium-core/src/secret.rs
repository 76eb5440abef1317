//! Values that never show, and that may change while the service runs.
//!
//! A [`Secret`] is a handle on a value with a version. Every handle that a configuration gives out for one reference
//! follows the same value, so a rotation reaches all of them at once. What is fetched or watched, and how often, is
//! the business of the [`Secrets`] store; a secret without one keeps the value it was loaded with.

mod address;
#[cfg(feature = "aws")]
mod aws;
mod bundle;
mod deserialize;
#[cfg(any(feature = "aws", feature = "vault"))]
mod document;
mod fixed;
mod handle;
mod login;
mod provider;
mod reference;
mod rule;
mod settings;
mod slot;
mod slots;
mod source;
mod store;
mod value;
#[cfg(feature = "vault")]
pub mod vault;

#[cfg(feature = "aws")]
pub use aws::Aws;
pub use bundle::{Bundle, BundleError};
pub use fixed::{Fixed, fixed};
pub use handle::{RefreshError, Secret, Watch};
pub use login::Login;
pub use provider::{Address, FetchError, FetchErrorKind, Fetched, Material, Provider, Version};
pub use settings::SecretsSettings;
pub use source::Source;
pub use store::{OpenError, SecretReport, SecretState, Secrets};
pub use value::Value;

pub(crate) use deserialize::{NEWTYPE, hand_over};
pub(crate) use reference::{Reference, read_file, trim_newline};
pub(crate) use rule::{Form, LOGIN, Leaf, Rule};
#[cfg(feature = "tls")]
pub(crate) use slot::read_together;
pub(crate) use slots::Slots;
