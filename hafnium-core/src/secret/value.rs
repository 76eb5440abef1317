//! One value of a secret.

use std::fmt;
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};

use super::provider::{Material, Version};

/// One value of a secret, with the version that tells it from the next. It never prints and is wiped from memory when
/// the last handle on it is dropped.
pub struct Value {
    material: Material,
    version: Version,
    changed: Option<SystemTime>,
}

impl Value {
    pub(crate) fn new(material: Material, version: Version, changed: Option<SystemTime>) -> Self {
        Self {
            material,
            version,
            changed,
        }
    }

    /// A text whose version is made of itself.
    pub(crate) fn of_text(text: SecretString, changed: Option<SystemTime>) -> Self {
        Self::of(Material::Text(text), changed)
    }

    /// A value whose version is made of itself.
    pub(crate) fn of(material: Material, changed: Option<SystemTime>) -> Self {
        let version = Version::of(&material);
        Self::new(material, version, changed)
    }

    /// The value itself; of a login the password. Keep it out of logs, errors and metrics.
    pub fn expose(&self) -> &str {
        self.secret().expose_secret()
    }

    /// User and password, where the two came together.
    pub fn login(&self) -> Option<(&str, &str)> {
        match &self.material {
            Material::Login { user, password } => Some((user, password.expose_secret())),
            Material::Text(_) => None,
        }
    }

    /// Which value this is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// When the value was last changed at its source, where the source says so.
    pub fn changed(&self) -> Option<SystemTime> {
        self.changed
    }

    fn secret(&self) -> &SecretString {
        match &self.material {
            Material::Text(text) => text,
            Material::Login { password, .. } => password,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(***, version {})", self.version.shown())
    }
}
