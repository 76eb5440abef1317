//! Faults of one node: killed, frozen, stopped, its replay paused.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bringup::STEP;
use super::cluster::PostgresCluster;
use super::proof::{Frozen, Killed, ReplayPause, Stopped, Thawed};
use crate::Error;
use crate::process::{Kill, ProcessState, await_ready, wait_until};

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopMode {
    /// SIGINT: sessions are ended with 57P01, what is written is sent to the standbys, then a checkpoint.
    Fast,
    /// SIGQUIT: everybody leaves at once, recovery at the next start. Clients see an end of file.
    Immediate,
}

impl PostgresCluster {
    /// Kills the postmaster and every backend of a node at once with SIGKILL, as a power cut does.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it did not run, a process is left, or its port still accepts.
    pub async fn kill9(&self, node: usize) -> Result<Killed, Error> {
        let kill = self.nodes[node].process()?.kill9()?;
        self.refused(node, kill).await
    }

    /// Kills the postmaster alone; the backends notice within milliseconds and leave, some with an answer half sent.
    ///
    /// # Errors
    /// As [`kill9`](Self::kill9).
    pub async fn kill9_postmaster(&self, node: usize) -> Result<Killed, Error> {
        let kill = self.nodes[node].process()?.kill9_main()?;
        self.refused(node, kill).await
    }

    async fn refused(&self, node: usize, kill: Kill) -> Result<Killed, Error> {
        let connecting = tokio::net::TcpStream::connect((self.host(node), self.port(node)));
        match tokio::time::timeout(Duration::from_secs(2), connecting).await {
            Ok(Err(error)) => Ok(Killed {
                kill,
                connect: error.to_string(),
            }),
            Ok(Ok(_)) => Err(Error::unproven(
                format!("kill -9 of {}", self.name(node)),
                "its port still accepts",
            )),
            Err(_) => Err(Error::unproven(
                format!("kill -9 of {}", self.name(node)),
                "its port is silent",
            )),
        }
    }

    /// Stops the postmaster and every backend with SIGSTOP. The kernel still accepts connections; nothing answers.
    ///
    /// # Errors
    /// [`Error::Unproven`] when one of them is not in state `T`.
    pub fn freeze(&self, node: usize) -> Result<Frozen, Error> {
        Ok(Frozen {
            freeze: self.nodes[node].process()?.freeze()?,
        })
    }

    /// Lets a frozen node go on, and waits until it answers. A primary that was deposed meanwhile says `primary`.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it does not answer within 30 s.
    pub async fn thaw(&self, node: usize) -> Result<Thawed, Error> {
        let process = self.nodes[node].process()?;
        process.thaw();
        let what = format!("{} to answer after its thaw", self.name(node));
        let in_recovery = await_ready(&[&process], &what, STEP, async || {
            let session = self
                .connect(node, "postgres")
                .await
                .map_err(|error| error.to_string())?;
            session
                .value::<bool>("SELECT pg_is_in_recovery()")
                .await
                .map_err(|error| error.to_string())
        })
        .await?;
        let role = if in_recovery { "standby" } else { "primary" };
        match process.state() {
            ProcessState::Alive => Ok(Thawed {
                node: self.name(node).into(),
                state: ProcessState::Alive,
                role: role.into(),
            }),
            other => Err(Error::unproven(
                format!("thaw of {}", self.name(node)),
                other.to_string(),
            )),
        }
    }

    /// Stops a node by a signal to its postmaster and waits for its end.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it did not run, [`Error::NotReady`] when it takes more than 30 s.
    pub async fn stop(&self, node: usize, mode: StopMode) -> Result<Stopped, Error> {
        let process = self.nodes[node].process()?;
        if process.exit_status().is_some() {
            return Err(Error::unproven(
                format!("stop of {}", self.name(node)),
                "it was not running",
            ));
        }
        let start = Instant::now();
        let (signal, mode) = match mode {
            StopMode::Fast => (Signal::INT, "fast"),
            StopMode::Immediate => (Signal::QUIT, "immediate"),
        };
        process.signal(signal);
        let status = process.ended(STEP).await?.to_string();
        Ok(Stopped {
            node: self.name(node).into(),
            mode: mode.into(),
            status,
            took: start.elapsed(),
        })
    }

    /// Lets a standby receive but not replay, so that reads from it grow stale.
    ///
    /// # Errors
    /// [`Error::Refused`] by a primary; [`Error::NotReady`] when the replay does not stop within 30 s.
    pub async fn pause_replay(&self, node: usize) -> Result<ReplayPause, Error> {
        self.replay(node, "SELECT pg_wal_replay_pause()", "paused").await
    }

    /// Lets a standby replay again.
    ///
    /// # Errors
    /// As [`pause_replay`](Self::pause_replay).
    pub async fn resume_replay(&self, node: usize) -> Result<ReplayPause, Error> {
        self.replay(node, "SELECT pg_wal_replay_resume()", "not paused")
            .await
    }

    async fn replay(&self, node: usize, request: &str, wanted: &str) -> Result<ReplayPause, Error> {
        let session = self.connect(node, "postgres").await?;
        session.run(request).await?;
        let what = format!("the replay of {} to be {wanted}", self.name(node));
        let state = wait_until(&what, STEP, async || {
            let state = session
                .value::<String>("SELECT pg_get_wal_replay_pause_state()")
                .await;
            let state = state.map_err(|error| error.to_string())?;
            if state == wanted { Ok(state) } else { Err(state) }
        });
        Ok(ReplayPause {
            node: self.name(node).into(),
            state: state.await?,
        })
    }
}
