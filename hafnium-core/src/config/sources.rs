//! The outside world as a loader sees it: a directory and a snapshot of environment variables.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a [`Loader`](super::Loader) reads: the directory of `hafnium.toml` and the environment variables.
///
/// A value of its own, so that a test never touches the environment of its process.
#[derive(Clone)]
pub struct Sources {
    directory: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
}

impl Sources {
    /// The working directory and the variables of this process, as they are now.
    pub fn process() -> Self {
        Self {
            directory: Some(PathBuf::from(".")),
            variables: std::env::vars_os().collect(),
        }
    }

    /// No files and no variables.
    pub fn none() -> Self {
        Self {
            directory: None,
            variables: Vec::new(),
        }
    }

    /// Reads `hafnium.toml` and `hafnium.<environment>.toml` in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Adds or replaces one variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
        self
    }

    /// Takes these variables in place of all others.
    #[must_use]
    pub fn variables(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.variables = variables;
        self
    }

    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        self.directory.as_deref().map(|directory| directory.join(name))
    }

    pub(super) fn base(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new("."))
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl Default for Sources {
    /// [`Sources::process`].
    fn default() -> Self {
        Self::process()
    }
}

impl fmt::Debug for Sources {
    /// Names only: a variable's value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("directory", &self.directory)
            .field(
                "variables",
                &self.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .finish()
    }
}
