//! How a crate adds its keys to the configuration of a service.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// A group of keys that belongs to one crate, such as `postgres`.
///
/// Its settings are described by their JSON Schema, so that unknown keys, wrong types and missing keys are all found
/// before anything is deserialised. Named instances live below the key: `postgres.ledger.url`.
///
/// What helps the reports and the listing:
/// * `#[serde(default)]` with a `Default` and fields that can be serialised: the defaults are listed.
/// * [`Duration`](super::Duration), [`ByteSize`](super::ByteSize), [`Ratio`](super::Ratio) and
///   [`Secret`](crate::secret::Secret) as types of fields: their formats are checked.
/// * `#[schemars(extend("x-url-schemes" = ["postgres", "postgresql"]))]` on a `String` or a `Secret`: it must be a URL
///   of one of these schemes, with one or several hosts. An empty list accepts any scheme.
/// * `#[schemars(range(min = 1))]` and `length(..)`: numbers and texts outside are refused.
///
/// Keys are words of `a-z`, `0-9` and `_`: a variable could not spell others.
pub trait Section {
    /// The top-level key, such as `postgres`.
    const KEY: &'static str;
    /// What is below the key (or below `<key>.<name>` for named instances).
    type Settings: DeserializeOwned + JsonSchema;
    /// Well-known environment variables that stand for keys of this section.
    fn aliases() -> &'static [Alias] {
        &[]
    }
}

/// A well-known environment variable that stands for a key of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The variable, such as `DATABASE_URL`.
    pub variable: &'static str,
    /// The key below the section (and below the name of the only instance), such as `url`.
    pub key: &'static str,
}
