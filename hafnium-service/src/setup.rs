//! Why the service's own set-up did not succeed.

use std::error::Error;
use std::fmt;

use hafnium_core::exit::Exit;

/// The error of the closure given to [`Service::run`](crate::Service::run); any error converts with `?`.
pub struct SetupError {
    source: Box<dyn Error + Send + Sync>,
}

impl SetupError {
    /// A set-up that failed for that reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: reason.into(),
        }
    }

    /// 78 for a name that was not declared, 1 otherwise.
    pub(crate) fn exit(&self) -> Exit {
        if self.source.is::<NotDeclared>() {
            Exit::Configuration
        } else {
            Exit::Failure
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for SetupError {
    fn from(error: E) -> Self {
        Self {
            source: Box::new(error),
        }
    }
}

impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// The error with its sources, on one line.
impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut source = self.source.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// A name was used in `run` that the builder does not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} is not declared; declared: {}", list(.declared))]
#[non_exhaustive]
pub struct NotDeclared {
    /// What was asked for: `postgres`, `redis`, `kafka` or `consumer`.
    pub kind: &'static str,
    /// The name that was used.
    pub name: String,
    /// The names that are declared.
    pub declared: Vec<String>,
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
