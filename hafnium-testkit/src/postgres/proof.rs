//! What shows that a fault happened.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::Error;
use crate::process::{Freeze, Kill, ProcessState};

/// A node's processes were killed with SIGKILL.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Killed {
    /// The processes that were and are no more.
    pub kill: Kill,
    /// What a new connection to its port gets: the refusal by the kernel.
    pub connect: String,
}

/// A node is stopped in the middle of whatever it did: it accepts TCP and stays silent.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Frozen {
    /// The processes and the state they were seen in.
    pub freeze: Freeze,
}

/// A frozen node runs again, and what it believes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Thawed {
    /// The node.
    pub node: String,
    /// State of its postmaster.
    pub state: ProcessState,
    /// `primary` or `standby`, as it says itself: a deposed primary does not know.
    pub role: String,
}

/// A node was stopped by a signal to its postmaster.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stopped {
    /// The node.
    pub node: String,
    /// `fast` or `immediate`.
    pub mode: String,
    /// Exit status of the postmaster.
    pub status: String,
    /// From the signal to the end of the postmaster.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// A standby became a primary.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Promotion {
    /// The node.
    pub node: String,
    /// The timeline it followed.
    pub timeline_before: u32,
    /// The timeline it writes.
    pub timeline_after: u32,
    /// What it had received when it was promoted.
    pub received: String,
    /// From the call of `pg_promote` to the first write that the node accepted.
    #[serde(rename = "first_write_ms", serialize_with = "milliseconds")]
    pub first_write: Duration,
    /// When that write was accepted.
    #[serde(skip)]
    pub first_write_at: Instant,
}

/// A standby received but did not replay.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplayPause {
    /// The node.
    pub node: String,
    /// `pg_get_wal_replay_pause_state()`.
    pub state: String,
}

/// How a node got the new primary's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum RejoinBy {
    /// It was a standby all the time and only follows another primary.
    Following,
    /// `pg_rewind` took back what it alone had written.
    Rewind,
    /// A new base backup, because the other ways failed.
    BaseBackup,
}

/// A node streams from the primary again.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Rejoin {
    /// The node.
    pub node: String,
    /// The primary it follows.
    pub primary: String,
    /// How.
    pub by: RejoinBy,
    /// Why it could not return with the data it had.
    pub refused: Option<String>,
    /// From the call until it streamed.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// A role has another password.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PasswordChange {
    /// The role.
    pub user: String,
    /// What a login with the old password got.
    pub old_login: Result<(), String>,
    /// What a login with the new password got.
    pub new_login: Result<(), String>,
}

impl PasswordChange {
    /// The proof is a login with each: the old one refused for the password's sake (28P01), the new one accepted.
    pub(super) fn checked(self) -> Result<PasswordChange, Error> {
        let refused = self
            .old_login
            .as_ref()
            .is_err_and(|answer| answer.contains("28P01"));
        if refused && self.new_login.is_ok() {
            return Ok(self);
        }
        Err(Error::unproven("change of the password", format!("{self:?}")))
    }
}

impl Promotion {
    /// The proof is a timeline that rose; that a write was accepted is what ended the promotion.
    pub(super) fn checked(self) -> Result<Promotion, Error> {
        if self.timeline_after > self.timeline_before {
            return Ok(self);
        }
        Err(Error::unproven("promotion", self.to_string()))
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; connect: {}", self.kill, self.connect)
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.freeze.fmt(f)
    }
}

impl fmt::Display for Thawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, says it is a {}", self.node, self.state, self.role)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} stop, {} after {} ms",
            self.node,
            self.mode,
            self.status,
            self.took.as_millis()
        )
    }
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Promotion {
            node,
            timeline_before,
            timeline_after,
            received,
            first_write,
            ..
        } = self;
        let took = first_write.as_millis();
        write!(
            f,
            "{node}: timeline {timeline_before} -> {timeline_after} at {received}, first write after {took} ms"
        )
    }
}

impl fmt::Display for ReplayPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: replay {}", self.node, self.state)
    }
}

impl fmt::Display for Rejoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rejoin {
            node,
            primary,
            by,
            refused,
            took,
        } = self;
        let took = took.as_millis();
        write!(f, "{node}: streams from {primary} by {by:?} after {took} ms")?;
        match refused {
            Some(reason) => write!(f, "; its own data would not do: {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PasswordChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said =
            |login: &Result<(), String>| login.clone().map_or_else(|answer| answer, |()| "accepted".into());
        write!(
            f,
            "{}: old password: {}; new: {}",
            self.user,
            said(&self.old_login),
            said(&self.new_login)
        )
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
