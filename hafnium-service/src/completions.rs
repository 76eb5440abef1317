//! `completions`: what a shell needs to complete the command line.

use std::io::Write;

use clap_complete::Shell;

use crate::command;
use crate::ending::Ending;

/// Prints the script for `shell`.
pub(crate) fn completions(name: &'static str, version: &'static str, shell: Shell) -> Result<Ending, Ending> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::line(name, version), name, &mut script);
    // Nobody is left to read it when stdout is closed.
    let _ = std::io::stdout().write_all(&script);
    Ok(Ending::clean())
}
