//! The server of a test.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{self, Answer};
use super::image::Container;
use super::ladder::{self, Absent, Rung};
use super::program::{ROOT_TOKEN, key_in_log, key_in_state};
use crate::Error;
use crate::process::{Keeper, Process, await_ready, free_ports};

/// A container has to be made first.
const READY: Duration = Duration::from_secs(30);

/// A Vault with KV version 2 at `secret/`. Dropping it ends it.
#[derive(Debug)]
pub struct VaultServer {
    port: u16,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Program(Box<Child>),
    Image(Container),
}

#[derive(Debug)]
struct Child {
    // Ends before its directory goes.
    process: Process,
    directory: std::path::PathBuf,
}

impl VaultServer {
    /// Starts one, or says how to get one.
    ///
    /// # Errors
    /// [`Error::Missing`] when `HAFNIUM_VAULT_BIN` names nothing that can be run; [`Error::Ended`] and
    /// [`Error::NotReady`] with its log.
    pub async fn start() -> Result<Result<VaultServer, Absent>, Error> {
        // Looking for one may run programs, and pull an image.
        let found = tokio::task::spawn_blocking(ladder::find)
            .await
            .map_err(|error| Error::refused("look for a Vault", error))??;
        let rung = match found {
            Ok(rung) => rung,
            Err(absent) => return Ok(Err(absent)),
        };
        let port = free_ports(1)?[0];
        let running = match rung {
            Rung::Image => Running::Image(Container::start(port)?),
            Rung::Program(program) => {
                let keeper = Keeper::new("vault")?;
                let process = keeper.spawn(&program.launch(port))?;
                let directory = keeper.directory().to_owned();
                Running::Program(Box::new(Child { process, directory }))
            }
        };
        let server = VaultServer { port, running };
        server.await_unsealed().await?;
        Ok(Ok(server))
    }

    async fn await_unsealed(&self) -> Result<(), Error> {
        let processes = match &self.running {
            Running::Program(child) => vec![&child.process],
            Running::Image(_) => Vec::new(),
        };
        await_ready(&processes, "Vault to be unsealed", READY, async || {
            match self.call("GET", "sys/health", None, None).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("health {}", answer.status)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        // In dev mode it is mounted a moment after the server is unsealed.
        await_ready(&processes, "KV version 2 at secret/", READY, async || match self
            .root("GET", "secret/config", None)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// `http://127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A token that may do everything.
    pub fn root_token(&self) -> &'static str {
        ROOT_TOKEN
    }

    /// Where it came from, for a report: `program` or `image`.
    pub fn origin(&self) -> &'static str {
        match &self.running {
            Running::Program(_) => "program",
            Running::Image(_) => "image",
        }
    }

    /// Asks for `path`, which follows `/v1/`, with that token.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Refused`] when there is no answer. A status is an answer.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Answer, Error> {
        api::call(self.port, method, path, token, body.as_ref()).await
    }

    /// As [`call`](Self::call) with the root token; gives the body of an answer that is a success.
    ///
    /// # Errors
    /// [`Error::Refused`] with the answer when it is none.
    pub async fn root(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let answer = self.call(method, path, Some(ROOT_TOKEN), body).await?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status => Err(Error::refused(
                format!("{method} {path}"),
                format!("{status} {}", answer.body),
            )),
        }
    }

    /// Seals it: every read answers 503 from then on.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it still answers as unsealed.
    pub async fn seal(&self) -> Result<(), Error> {
        self.root("PUT", "sys/seal", None).await?;
        match self.call("GET", "sys/health", None, None).await?.status {
            503 => Ok(()),
            status => Err(Error::unproven("seal", format!("health answers {status}"))),
        }
    }

    /// Unseals it; what it held is there again.
    ///
    /// # Errors
    /// [`Error::Refused`] when the key is not known, [`Error::NotReady`] when it stays sealed.
    pub async fn unseal(&self) -> Result<(), Error> {
        let key = self
            .unseal_key()
            .ok_or_else(|| Error::refused("unseal Vault", "it told nobody its key"))?;
        self.root("PUT", "sys/unseal", Some(json!({ "key": key })))
            .await?;
        self.await_unsealed().await
    }

    fn unseal_key(&self) -> Option<String> {
        match &self.running {
            Running::Image(container) => key_in_log(&container.log()),
            Running::Program(child) => {
                let read = |name| std::fs::read_to_string(child.directory.join(name)).unwrap_or_default();
                key_in_state(&read("state.json")).or_else(|| key_in_log(&read("vault.log")))
            }
        }
    }
}
