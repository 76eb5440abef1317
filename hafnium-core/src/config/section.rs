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
/// * `#[schemars(extend("x-reloadable" = true))]`: the key changes without a restart; whoever uses it follows
///   [`Live`](super::Live).
/// * `#[schemars(extend("x-lax" = {"human": "why this value is lax"}))]`: the command `check` warns of it in `prod`.
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
    /// Well-known environment variables that stand for a key of this section together, or written otherwise than it.
    fn composed() -> &'static [Composed] {
        &[]
    }
}

/// Well-known environment variables that make the value of one key together, such as `PGHOST` and `PGPORT` a URL, or
/// that are written in another unit than the key.
#[derive(Debug, Clone, Copy)]
pub struct Composed {
    /// The variables. Those that are empty count as not set.
    pub variables: &'static [&'static str],
    /// The key below the section (and below the name of the only instance), such as `url`.
    pub key: &'static str,
    /// Makes the value. Called where at least one of the variables is set.
    pub compose: fn(&Parts<'_>) -> Result<Option<String>, ComposeError>,
}

/// What [`Composed::compose`] works with.
pub struct Parts<'a> {
    pub(crate) set: Vec<(&'static str, &'a str)>,
    /// What another variable says of the same key.
    pub(crate) stated: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// The value of one of the variables, if it is set.
    pub fn get(&self, variable: &str) -> Option<&'a str> {
        let found = self.set.iter().find(|(name, _)| *name == variable);
        found.map(|(_, value)| *value)
    }

    /// What another variable says of the same key, such as `DATABASE_URL`: what is made must not contradict it.
    pub fn stated(&self) -> Option<&'a str> {
        self.stated
    }
}

impl std::fmt::Debug for Parts<'_> {
    /// Names only: a value may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.set.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Why variables make no value together. Holds none of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComposeError {
    /// One of them says something else than the variable that already states the value.
    Contradicts(&'static str),
    /// One of them can't be kept; says why.
    Refused {
        /// The variable.
        variable: &'static str,
        /// What is wrong, or what to set instead.
        reason: &'static str,
    },
}

/// A well-known environment variable that stands for a key of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The variable, such as `DATABASE_URL`.
    pub variable: &'static str,
    /// The key below the section (and below the name of the only instance), such as `url`.
    pub key: &'static str,
}
