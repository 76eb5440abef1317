//! Why a dependency was not provided.

use std::fmt;

use super::ladder::Rung;

/// A dependency is not there, and why. The text is meant for the developer who started the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// This is a release build.
    #[error(
        "a release build provides no dev services: configure the dependency, or set HAFNIUM_DEV_SERVICES=force"
    )]
    Release,
    /// A pin that is none.
    #[error("{variable}={value:?} is not one of {expected}, off, or an address")]
    Pin {
        /// The variable's name.
        variable: String,
        /// Its value.
        value: String,
        /// The rungs of this dependency.
        expected: String,
    },
    /// Switched off by its pin.
    #[error("{name:?} is not configured, and {variable}=off")]
    Off {
        /// The dependency's name.
        name: String,
        /// The variable's name.
        variable: String,
    },
    /// No rung could provide it.
    #[error("nothing here can provide {kind} for {name:?}:{}\none of these fixes it:\n  {}\n  {}", list(tried), fixes[0], fixes[1])]
    Nothing {
        /// What kind of server.
        kind: &'static str,
        /// The dependency's name.
        name: String,
        /// Each rung, with its reason.
        tried: Vec<Tried>,
        /// Two commands, either of which fixes it.
        fixes: [String; 2],
    },
}

/// A rung that could not provide a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The rung.
    pub rung: Rung,
    /// What stood in the way.
    pub reason: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rung, self.reason)
    }
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(|tried| format!("\n  {tried}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_what_was_tried_and_what_fixes_it() {
        let error = DevError::Nothing {
            kind: "PostgreSQL",
            name: "ledger".into(),
            tried: vec![
                Tried {
                    rung: Rung::Docker,
                    reason: "no daemon".into(),
                },
                Tried {
                    rung: Rung::Local,
                    reason: "not installed".into(),
                },
            ],
            fixes: [
                "systemctl start docker".into(),
                "apt-get install postgresql".into(),
            ],
        };
        let text = error.to_string();
        for part in [
            "ledger",
            "docker: no daemon",
            "local: not installed",
            "systemctl start",
            "apt-get install",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
