//! The command line that every service has.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::config_command::ConfigArguments;

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
    /// Override one key, such as `--set http.port=9000`; wins over files and variables; outside dev no secrets
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub(crate) set: Vec<String>,
    /// The environment: dev, staging, prod or dr
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) environment: Option<String>,
}

/// The commands; `run` when none is given.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Run the service until it is told to stop (the default)
    Run,
    /// Load the configuration and reach every dependency once, then exit: 0, 69 (unavailable) or 78 (configuration)
    ///
    /// Warns of what is lax in prod and dr, and of secrets that can't rotate.
    Check,
    /// Print each effective value and where it came from, secrets as ***; needs no dependency and no environment
    Config(ConfigArguments),
    /// Apply the database migrations, then exit; meant for an init container
    Migrate,
    /// Ask the running service on this host whether it is live: exit 0 or 1; meant for images without a shell
    Healthcheck,
    /// Print name and version
    Version,
    /// Print the completions of this command line for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What stands below the help of each command; `$` is the program.
const EXAMPLES: [(&str, &str); 7] = [
    (
        "run",
        "  ENVIRONMENT=prod $ run\n  $ run --environment dev --set http.port=9000\n  $ run --set telemetry.log_filter=info,sqlx=debug",
    ),
    (
        "check",
        "  $ check --environment prod\n  HAFNIUM_CONFIG_DIR=/etc/hafnium $ check",
    ),
    (
        "config",
        "  $ config\n  $ config --format json | jq '.entries[] | select(.origin != \"default\")'\n  $ config --schema > config.schema.json\n  $ config --reference > configuration.md",
    ),
    ("migrate", "  DATABASE_URL=postgres://app@db/ledger $ migrate"),
    (
        "healthcheck",
        "  $ healthcheck\n  HEALTHCHECK CMD [\"/$\", \"healthcheck\"]   (in a Dockerfile)",
    ),
    ("version", "  $ version"),
    (
        "completions",
        "  $ completions bash > /etc/bash_completion.d/$\n  $ completions zsh > ~/.zfunc/_$\n  $ completions fish > ~/.config/fish/completions/$.fish",
    ),
];

/// Below the help of the whole.
const OVERVIEW: &str = "Examples:\n  $                          the same as $ run\n  $ check --environment prod\n  $ config --set http.port=9000\n\nExit codes: 0 clean, 1 failure, 2 usage, 69 a required dependency is unavailable, 75 the drain was incomplete,\n78 invalid configuration, 101 a panic in main or the set-up. SIGHUP reads the configuration and the secrets again.";

/// The command line of the service `name`.
pub(crate) fn line(name: &'static str, version: &'static str) -> clap::Command {
    let mut line = CommandLine::command()
        .name(name)
        .version(version)
        .after_help(OVERVIEW.replace('$', name));
    for (command, examples) in EXAMPLES {
        let examples = format!("Examples:\n{}", examples.replace('$', name));
        line = line.mut_subcommand(command, |command| command.after_help(examples));
    }
    line
}

/// What was typed does not show in an error: a blank within a value makes what follows it an argument of its own, and
/// the value may be a secret. What would have been right still shows.
fn hide(mut error: clap::Error) -> clap::Error {
    let typed: &[ContextKind] = match error.kind() {
        ErrorKind::UnknownArgument => &[ContextKind::InvalidArg],
        _ => &[ContextKind::InvalidSubcommand, ContextKind::InvalidValue],
    };
    for kind in typed {
        // An empty one says that there was none.
        if matches!(error.get(*kind), Some(ContextValue::String(text)) if !text.is_empty()) {
            error.insert(*kind, ContextValue::String("***".to_owned()));
        }
    }
    // Repeats it: "to pass '…' as a value".
    error.remove(ContextKind::Suggested);
    error
}

/// Reads `arguments` for the service `name`. An error shows nothing of what was typed.
pub(crate) fn parse(
    name: &'static str,
    version: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, clap::Error> {
    line(name, version)
        .try_get_matches_from(arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches))
        .map_err(hide)
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
    fn the_help_names_every_exit_code() {
        let help = line("svc", "1.2.3").render_help().to_string();
        let (_, codes) = help.split_once("Exit codes: ").unwrap();
        for code in ["0 ", "1 ", "2 ", "69 ", "75 ", "78 ", "101 "] {
            let named = codes
                .split([',', '\n'])
                .any(|part| part.trim_start().starts_with(code));
            assert!(named, "{code}: {codes}");
        }
    }

    #[test]
    fn every_command_has_examples() {
        for command in line("svc", "1.2.3").get_subcommands() {
            let examples = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                examples.contains("  svc ") || examples.contains(" svc "),
                "{}: {examples}",
                command.get_name()
            );
        }
        line("svc", "1.2.3").debug_assert();
    }

    #[test]
    fn what_was_typed_never_shows_in_an_error_and_what_would_be_right_does() {
        for arguments in [
            &["--set", "a.b=x", "c.d=hunter2"][..],
            &["run", "hunter2"],
            &["--hunter2"],
            &["run", "-unter2"],
            &["config", "--format", "hunter2"],
            &["completions", "hunter2"],
            &["completions", "bash", "hunter2"],
            &["--password=hunter2"],
        ] {
            let error = parsed(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let shown = format!("{error}");
            assert!(!shown.contains("unter2"), "{shown}");
            assert!(shown.contains("--help"), "{shown}");
        }
        let error = parsed(&["chek"]).unwrap_err().to_string();
        assert!(error.contains("'check'"), "{error}");
    }

    #[test]
    fn an_unknown_command_is_a_usage_error() {
        assert_eq!(parsed(&["chek"]).unwrap_err().exit_code(), 2);
    }
}
