//! A program that serves Vault's API.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process::Launch;

/// The root token of every server of ours: it lives on loopback, in memory, for one test.
pub(super) const ROOT_TOKEN: &str = "root";

/// A program and how it wants to be started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `server -dev`, as Vault and OpenBao have it.
    Dev,
    /// A server for tests built from Vault's core: flags of its own.
    Test,
}

impl Program {
    /// `None` when it can't be run.
    pub(super) fn at(path: PathBuf) -> Option<Program> {
        let help = Command::new(&path).arg("-h").stdin(Stdio::null()).output().ok()?;
        let text = [help.stdout, help.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let style = match text.contains("-root-token") && text.contains("-state") {
            true => Style::Test,
            false => Style::Dev,
        };
        Some(Program { path, style })
    }

    pub(super) fn launch(&self, port: u16) -> Launch {
        let address = format!("127.0.0.1:{port}");
        let launch = Launch::new("vault", &self.path);
        match self.style {
            Style::Test => launch.args([
                "-addr",
                &address,
                "-root-token",
                ROOT_TOKEN,
                "-state",
                "state.json",
            ]),
            Style::Dev => launch
                .args(["server", "-dev"])
                .arg(format!("-dev-root-token-id={ROOT_TOKEN}"))
                .arg(format!("-dev-listen-address={address}"))
                .env("SKIP_SETCAP", "1"),
        }
    }
}

/// The key that unseals a server in dev mode, out of what it prints.
pub(super) fn key_in_log(log: &str) -> Option<String> {
    let line = log.lines().find_map(|line| line.split_once("Unseal Key:"))?;
    Some(line.1.trim().to_owned())
}

/// The key that unseals a test server, out of the file it writes.
pub(super) fn key_in_state(state: &str) -> Option<String> {
    let state: serde_json::Value = serde_json::from_str(state).ok()?;
    Some(state.get("unseal_key")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unseal_key_is_found_in_both_places() {
        let log = "Unseal Key: a+b=\nRoot Token: root\n";
        assert_eq!(key_in_log(log).as_deref(), Some("a+b="));
        assert_eq!(key_in_log("sealed"), None);
        let state = r#"{"address":"http://127.0.0.1:1","root_token":"root","unseal_key":"c="}"#;
        assert_eq!(key_in_state(state).as_deref(), Some("c="));
    }
}
