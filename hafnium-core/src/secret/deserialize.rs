//! How a secret is taken out of a configuration: as the handle that the tree holds, never as a copy of its text.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::handle::Secret;

/// The newtype name by which the configuration's deserializer knows a secret.
pub(crate) const NEWTYPE: &str = "$hafnium::Secret";

thread_local! {
    /// The handle on its way through serde, which carries plain data only.
    static HANDED: RefCell<Option<Secret>> = const { RefCell::new(None) };
}

/// Gives a visitor that asked for [`NEWTYPE`] the handle itself.
pub(crate) fn hand_over<'de, V: Visitor<'de>, E: de::Error>(
    secret: &Secret,
    visitor: V,
) -> Result<V::Value, E> {
    HANDED.set(Some(secret.clone()));
    let taken = visitor.visit_unit();
    HANDED.take();
    taken
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NEWTYPE, SecretVisitor)
    }
}

/// Takes plain text from any format, and the handle from the configuration's own.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Secret, E> {
        Ok(Secret::new(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Secret, E> {
        Ok(Secret::new(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_string(self)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Secret, E> {
        HANDED
            .take()
            .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Unit, &self))
    }
}

impl Serialize for Secret {
    /// Always `***`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret" })
    }
}
