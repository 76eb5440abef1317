//! Values that never show.

mod provider;
mod reference;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

pub use provider::{Address, FetchError, FetchErrorKind, Fetched, Material, Provider, Version};
pub(crate) use reference::{Reference, read_file, trim_newline};

/// The newtype name by which the configuration's deserializer knows a secret and hands over its source as well.
pub(crate) const NEWTYPE: &str = "$hafnium::Secret";

/// A secret value, such as a password or a URL that holds one. It never prints and is wiped from memory when dropped.
///
/// In a configuration it is written as the value itself or as a reference: `env:NAME` or `file:/path`. A value of its
/// own is refused in a configuration *file* outside `dev`. `NAME_FILE` in place of a variable `NAME` names a file that
/// holds the value. One newline at the end of a file is not part of the secret.
#[derive(Clone)]
pub struct Secret {
    value: SecretString,
    source: Source,
}

/// Where a secret's value was read. Shows the place, never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The value was given as it is.
    Literal,
    /// An environment variable. It never changes while the process runs.
    Variable(String),
    /// A file that holds the value.
    File(PathBuf),
}

impl fmt::Display for Source {
    /// As a reference is written: `env:NAME`, `file:/path`; `literal` for a value given as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("literal"),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Secret {
    /// A secret of that value.
    pub fn new(value: impl Into<String>) -> Self {
        Self::read(SecretString::from(value.into()), Source::Literal)
    }

    pub(crate) fn read(value: SecretString, source: Source) -> Self {
        Self { value, source }
    }

    /// The value itself. Keep it out of logs, errors and metrics.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Where the value was read.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NEWTYPE, SecretVisitor)
    }
}

/// Takes plain text from any format, and value and source from the configuration's own.
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Secret, A::Error> {
        let mut next = || parts.next_element::<String>();
        let value = next()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let source = match next()?.as_deref() {
            Some(text) => match Reference::parse(text) {
                Reference::Variable(name) => Source::Variable(name.to_owned()),
                Reference::File(path) => Source::File(path.into()),
                Reference::Literal | Reference::Unsupported(_) => Source::Literal,
            },
            None => Source::Literal,
        };
        Ok(Secret::read(SecretString::from(value), source))
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
