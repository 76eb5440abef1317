//! `config`: what the service would run with, and what it could be told.

use std::io::Write;

use clap::{Args, ValueEnum};
use hafnium_core::config::Loader;

use crate::ending::Ending;

/// What to show, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct ConfigArguments {
    /// How the values are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the JSON Schema of every key instead, the service's own included
    #[arg(long, conflicts_with = "reference")]
    schema: bool,
    /// Print the reference of every key instead, in Markdown, the service's own included
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each value, with its origin
    #[default]
    Text,
    /// One document
    Json,
}

/// Prints what is asked for. Values are printed also where some are missing; then the exit code is 78 all the same.
pub(crate) fn config(loader: &Loader, arguments: &ConfigArguments) -> Result<Ending, Ending> {
    if arguments.schema {
        return print(&format!("{:#}\n", loader.schema()));
    }
    if arguments.reference {
        return print(&loader.reference());
    }
    let loader = loader.clone().environment_optional();
    let set = loader.clone().needs::<String>([]).load()?;
    let printed = print(&match arguments.format {
        Format::Text => set.render_text(),
        Format::Json => format!("{:#}\n", set.render_json()),
    });
    loader.load()?;
    printed
}

fn print(text: &str) -> Result<Ending, Ending> {
    // Nobody is left to read it when stdout is closed, such as by `head`.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(Ending::clean())
}
