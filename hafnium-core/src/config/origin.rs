//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, as a reader would look for it: `hafnium.toml:12`, the name of a variable, `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The type's own default; nobody set it.
    Default,
    /// Given by the program that loads the configuration, such as `dev services`.
    Provided(&'static str),
    /// A line of a configuration file, counted from 1.
    File {
        /// The file as it was opened; only its name when it lies in the working directory.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// A file of the mounted config tree that holds this one value.
    Tree(PathBuf),
    /// An environment variable.
    Variable(String),
    /// Several environment variables that make one value together.
    Variables(Vec<String>),
    /// `--set`.
    Set,
    /// A command-line flag of its own, such as `--environment`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Provided(by) => f.write_str(by),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Tree(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Variables(names) => f.write_str(&names.join(", ")),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}
