//! Where a secret comes from.

use std::fmt;
use std::path::PathBuf;

use super::provider::Address;

/// Where a secret's value comes from. Shows the place, never the value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The value was given as it is.
    Literal,
    /// An environment variable. It never changes while the process runs.
    Variable(String),
    /// A file that holds the value.
    File(PathBuf),
    /// A place elsewhere, which a [`Provider`](super::Provider) asks.
    Remote(Address),
}

impl fmt::Display for Source {
    /// As a reference is written: `env:NAME`, `file:/path`, `vault:kv/db#password`; `literal` for a value given as it
    /// is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("literal"),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Remote(address) => address.fmt(f),
        }
    }
}
