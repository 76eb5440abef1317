//! The command line that every service has.

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// What to do, and with which overrides.
#[derive(Debug, Parser)]
#[command(about = "Runs the service, or does one thing for it and exits", long_about = None)]
#[command(disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What may be said on the command line about the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Overrides {
    /// Override one key, such as `--set http.port=9000`; wins over files and variables
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub(crate) set: Vec<String>,
    /// The environment: dev, staging, prod or dr
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) environment: Option<String>,
}

/// The commands; `run` when none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Run the service until it is told to stop (the default)
    Run,
    /// Load the configuration and reach every dependency once, then exit: 0, 69 (unavailable) or 78 (configuration)
    Check,
    /// Apply the database migrations, then exit; meant for an init container
    Migrate,
    /// Ask the running service on this host whether it is live: exit 0 or 1; meant for images without a shell
    Healthcheck,
    /// Print name and version
    Version,
}

/// Reads `arguments` for the service `name`.
pub(crate) fn parse(
    name: &'static str,
    version: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, clap::Error> {
    let command = CommandLine::command().name(name).version(version);
    command
        .try_get_matches_from(arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<CommandLine, clap::Error> {
        let arguments = std::iter::once("svc")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        parse("svc", "1.2.3", arguments)
    }

    #[test]
    fn no_command_means_run_and_overrides_may_stand_on_either_side() {
        assert_eq!(parsed(&[]).unwrap().command, None);
        for arguments in [["--set", "a.b=c", "check"], ["check", "--set", "a.b=c"]] {
            let line = parsed(&arguments).unwrap();
            assert_eq!(
                (line.command, line.overrides.set),
                (Some(Command::Check), vec!["a.b=c".to_owned()])
            );
        }
    }

    #[test]
    fn an_unknown_command_is_a_usage_error() {
        assert_eq!(parsed(&["chek"]).unwrap_err().exit_code(), 2);
    }
}
