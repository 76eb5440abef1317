//! What can be done to a broker, and what shows that it happened.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::cluster::KafkaCluster;
use super::metadata::request;
use crate::Error;
use crate::process::{Freeze, Kill, silence};

/// How long a frozen broker is listened to. A running one answers within milliseconds.
const LISTEN: Duration = Duration::from_millis(200);

/// A broker was killed with SIGKILL.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Killed {
    /// Its id.
    pub broker: i32,
    /// The processes that were and are no more.
    pub kill: Kill,
}

/// A broker is stopped in the middle of whatever it did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Frozen {
    /// Its id.
    pub broker: i32,
    /// The processes and the state they were seen in.
    pub freeze: Freeze,
    /// After TCP was accepted and a question sent, this long nothing came.
    #[serde(rename = "silent_ms", serialize_with = "super::election::milliseconds")]
    pub silent: Duration,
}

impl KafkaCluster {
    /// Kills a broker with SIGKILL. The others notice after the session timeout of 3 s.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it did not run or its process is still there.
    pub async fn kill9(&self, broker: i32) -> Result<Killed, Error> {
        let process = self.broker(broker)?.process();
        // A Java process takes the kernel some 50 ms to tear down: not on the runtime's thread.
        let kill = tokio::task::spawn_blocking(move || process.kill9())
            .await
            .map_err(|error| Error::refused(format!("kill broker {broker}"), error))??;
        Ok(Killed { broker, kill })
    }

    /// Stops a broker with SIGSTOP: it accepts TCP and stays silent.
    ///
    /// # Errors
    /// [`Error::Unproven`] when its process is not in state `T`, when it accepts no connection or when it answers.
    pub async fn freeze(&self, broker: i32) -> Result<Frozen, Error> {
        let frozen = self.broker(broker)?;
        let freeze = frozen.process().freeze()?;
        let fault = format!("freeze of broker {broker}");
        let silent = silence(&fault, ("127.0.0.1", frozen.port), &request(), LISTEN).await?;
        Ok(Frozen {
            broker,
            freeze,
            silent,
        })
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {} killed: {}", self.broker, self.kill)
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frozen {
            broker,
            freeze,
            silent,
        } = self;
        write!(
            f,
            "broker {broker} frozen: {freeze}, accepted TCP, silent for {} ms",
            silent.as_millis()
        )
    }
}
