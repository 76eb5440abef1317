//! What a key wants of its secret.

use std::time::SystemTime;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;
use serde::Deserialize;

use super::handle::Secret;
use super::provider::{Material, Version};
use super::value::Value;
use crate::config::url;

/// The keyword of a schema that marks a key whose secret is a user and a password together.
pub(crate) const LOGIN: &str = "x-login";

/// How the text of a secret is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it is.
    Text,
    /// As the JSON document of a login, unless the source gives one.
    Login,
}

/// What a key wants of the value of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) form: Form,
    /// The schemes of the URL that is wanted, any when there are none; no URL is wanted otherwise.
    pub(crate) schemes: Option<Vec<String>>,
}

impl Rule {
    /// Why the value can't be this key's. Says nothing of the value.
    pub(crate) fn reject(&self, value: &Value) -> Option<String> {
        let schemes = self.schemes.as_ref()?;
        if value.login().is_some() {
            return Some("a user and a password where a URL is wanted".to_owned());
        }
        let schemes: Vec<_> = schemes.iter().map(String::as_str).collect();
        url::reject(value.expose(), &schemes)
    }
}

/// A secret in the tree of a configuration, with what its key wants.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) secret: Secret,
    pub(crate) rule: Rule,
}

/// A login as Amazon RDS and many others keep it.
#[derive(Deserialize)]
struct Document {
    #[serde(alias = "user")]
    username: String,
    password: SecretString,
}

impl Form {
    /// The value that `material` is in this form; its version is made of the material where none is given.
    pub(crate) fn read(
        self,
        material: Material,
        version: Option<Version>,
        changed: Option<SystemTime>,
    ) -> Result<Value, String> {
        let material = match (self, material) {
            (Self::Login, Material::Text(text)) => login(text)?,
            (_, material) => material,
        };
        let version = version.unwrap_or_else(|| Version::of(&material));
        Ok(Value::new(material, version, changed))
    }
}

fn login(text: SecretString) -> Result<Material, String> {
    use secrecy::ExposeSecret;
    // serde's own words may quote the document.
    let refuse = |_| {
        "no login: a JSON document with `username` and `password` is wanted, such as Amazon RDS keeps it"
            .to_owned()
    };
    let Document {
        mut username,
        password,
    } = serde_json::from_str(text.expose_secret()).map_err(refuse)?;
    if username.is_empty() || password.expose_secret().is_empty() {
        username.zeroize();
        return Err("no login: the user or the password is empty".to_owned());
    }
    Ok(Material::Login {
        user: username,
        password,
    })
}
