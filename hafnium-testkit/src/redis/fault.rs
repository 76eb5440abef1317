//! What can be done to a server, and what shows that it happened.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::identity::Identity;
use super::server::RedisServer;
use crate::Error;
use crate::process::{Freeze, Kill, silence};

/// How long a frozen server is listened to. A running one answers `PING` in well under a millisecond.
const LISTEN: Duration = Duration::from_millis(100);

/// A server was killed with SIGKILL.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Killed {
    /// What it was.
    pub before: Identity,
    /// The processes that were and are no more.
    pub kill: Kill,
}

/// A server is stopped in the middle of whatever it did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Frozen {
    /// What it was, and still believes to be.
    pub before: Identity,
    /// The processes and the state they were seen in.
    pub freeze: Freeze,
    /// After TCP was accepted and a `PING` sent, this long nothing came.
    #[serde(rename = "silent_ms", serialize_with = "super::failover::milliseconds")]
    pub silent: Duration,
}

impl RedisServer {
    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// [`Error::Refused`] when it does not answer before, [`Error::Unproven`] when its process is still there.
    pub async fn kill9(&self) -> Result<Killed, Error> {
        let before = self.identity().await?;
        let kill = self.process().kill9()?;
        Ok(Killed { before, kill })
    }

    /// Stops it with SIGSTOP: it accepts TCP and stays silent.
    ///
    /// # Errors
    /// [`Error::Refused`] when it does not answer before, [`Error::Unproven`] when its process is not in state `T`, when it
    /// accepts no connection or when it answers.
    pub async fn freeze(&self) -> Result<Frozen, Error> {
        let before = self.identity().await?;
        let freeze = self.process().freeze()?;
        let fault = format!("freeze of {}", self.name);
        let silent = silence(&fault, self.address(), b"PING\r\n", LISTEN).await?;
        Ok(Frozen {
            before,
            freeze,
            silent,
        })
    }

    /// Lets a frozen server run again, and waits until it answers. A deposed master still believes to be one at first.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 10 s.
    pub async fn thaw(&self) -> Result<Identity, Error> {
        self.process().thaw();
        self.await_answer().await
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} killed: {}", self.before, self.kill)
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frozen {
            before,
            freeze,
            silent,
        } = self;
        write!(
            f,
            "{before} frozen: {freeze}, accepted TCP, silent for {} ms",
            silent.as_millis()
        )
    }
}
