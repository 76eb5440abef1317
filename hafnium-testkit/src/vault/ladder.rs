//! Where a server can come from.

use std::fmt;
use std::path::PathBuf;

use super::image;
use super::program::Program;
use crate::Error;

/// Why there is no Vault here, and how to get one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Absent {
    /// What was looked for, rung by rung.
    pub tried: Vec<String>,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Vault here ({}); to have one: put `vault` or `bao` on the PATH, name one in HAFNIUM_VAULT_BIN, or start \
             Docker where {} can be pulled",
            self.tried.join("; "),
            image::NAME
        )
    }
}

/// The rung that will be used.
#[derive(Clone, Debug)]
pub(super) enum Rung {
    Program(Program),
    Image,
}

/// The first rung that there is.
///
/// # Errors
/// [`Error::Missing`] when `HAFNIUM_VAULT_BIN` names something that can't be run: a name that was given is meant.
pub(super) fn find() -> Result<Result<Rung, Absent>, Error> {
    let mut tried = Vec::new();
    match std::env::var_os("HAFNIUM_VAULT_BIN").filter(|path| !path.is_empty()) {
        Some(path) => {
            let missing = || Error::Missing {
                what: format!("{} (HAFNIUM_VAULT_BIN)", path.display()),
                hint: "name a program that can be run, or unset the variable".into(),
            };
            return Ok(Ok(Rung::Program(
                Program::at(path.clone().into()).ok_or_else(missing)?,
            )));
        }
        None => tried.push("HAFNIUM_VAULT_BIN is not set".to_owned()),
    }
    for name in ["vault", "bao"] {
        match on_path(name).and_then(Program::at) {
            Some(program) => return Ok(Ok(Rung::Program(program))),
            None => tried.push(format!("no `{name}` on the PATH")),
        }
    }
    Ok(match image::have() {
        Ok(()) => Ok(Rung::Image),
        Err(reason) => {
            tried.push(reason);
            Err(Absent { tried })
        }
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
