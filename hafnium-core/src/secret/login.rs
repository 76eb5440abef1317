//! A user and a password that change together.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::handle::Secret;
use super::rule::LOGIN;
use super::value::Value;

/// A secret that is a user and a password together, so that a rotation that changes the user never leaves half of it.
///
/// In a configuration it is a reference to a source that gives both (`vault-db:role`, `vault-static:role`) or to a JSON
/// document with `username` and `password`, as Amazon RDS keeps it (`aws-sm:name`, `file:/path`, `env:NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login(Secret);

impl Login {
    /// A user and a password, which never change.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Secret::of_login(user, password))
    }

    /// Both as they are now; [`Value::login`] gives them.
    pub fn current(&self) -> Arc<Value> {
        self.0.current()
    }

    /// The handle, to watch, refresh and judge it.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Login {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = Secret::deserialize(deserializer)?;
        match secret.is_pending() || secret.current().login().is_some() {
            true => Ok(Self(secret)),
            false => Err(de::Error::custom(
                "a login is wanted: a user and a password together",
            )),
        }
    }
}

impl Serialize for Login {
    /// Always `***`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Login {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "login".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret", LOGIN: true })
    }
}
