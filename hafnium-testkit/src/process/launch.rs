//! What is started: program, arguments, environment.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;

/// A program to be started by a [`Keeper`](super::Keeper).
///
/// The child sees an environment of its own: `PATH`, `JAVA_HOME`, a `HOME` in the private directory and `LC_ALL=C`.
/// Whatever else is exported where the tests run (`PGHOST`, `KAFKA_OPTS`, ..) would make them differ per machine.
#[derive(Clone, Debug)]
#[must_use]
pub struct Launch {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
}

impl Launch {
    /// `name` is what errors call the process and what its log file is named after.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Launch {
        Launch {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Launch {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Launch {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Launch {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// `setpriv` sets the parent-death signal after the change of user (which clears it) and then becomes the program,
    /// so the child's pid is the program's.
    pub(crate) fn command(&self, account: Option<Account>, home: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(Account { uid, gid }) = account {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups");
        }
        command.arg("--").arg(&self.program).args(&self.arguments);
        command.env_clear().env("HOME", home).env("LC_ALL", "C");
        for kept in ["PATH", "JAVA_HOME"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Out of the terminal's group: a Ctrl-C is for the test, which then ends and takes its servers with it.
        command
            .current_dir(home)
            .stdin(std::process::Stdio::null())
            .process_group(0);
        command
    }
}
