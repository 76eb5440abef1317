//! The official image, by the `docker` program: on the host's network, so that it reaches the test's own servers.

use std::process::{Command, Output, Stdio};

use super::program::ROOT_TOKEN;
use crate::Error;

pub(super) const NAME: &str = "hashicorp/vault:1.21";
/// A container whose test was killed ends itself after this many seconds.
const LONGEST_SECONDS: &str = "900";

/// A running container; dropping it removes it.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
}

/// Whether the image is there or can be pulled; the reason when not.
pub(super) fn have() -> Result<(), String> {
    docker(&["version", "--format", "{{.Server.Version}}"])
        .map_err(|_| "no Docker daemon answers".to_owned())?;
    if docker(&["image", "inspect", NAME]).is_ok() {
        return Ok(());
    }
    docker(&["pull", "--quiet", NAME])
        .map(drop)
        .map_err(|_| format!("Docker has no {NAME} and can't pull it"))
}

impl Container {
    pub(super) fn start(port: u16) -> Result<Container, Error> {
        let token = format!("-dev-root-token-id={ROOT_TOKEN}");
        let address = format!("-dev-listen-address=127.0.0.1:{port}");
        let run = [
            "run",
            "--detach",
            "--rm",
            "--network",
            "host",
            "--env",
            "SKIP_SETCAP=1",
        ];
        let server = [
            "--entrypoint",
            "timeout",
            NAME,
            LONGEST_SECONDS,
            "vault",
            "server",
            "-dev",
        ];
        let id = docker(&[&run[..], &server[..], &[&token, &address]].concat())
            .map_err(|said| Error::refused(format!("start a container of {NAME}"), said))?;
        Ok(Container { id })
    }

    pub(super) fn log(&self) -> String {
        docker(&["logs", &self.id]).unwrap_or_else(|said| said)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = docker(&["rm", "--force", &self.id]);
    }
}

fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match status.success() {
        // Containers print to both.
        true if arguments.first() == Some(&"logs") => Ok(text(&[stdout, stderr].concat())),
        true => Ok(text(&stdout)),
        false => Err(text(&stderr)),
    }
}
