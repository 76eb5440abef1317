//! Errors of the client, and the one answer every error gives.
//!
//! An [`Executor`](sqlx::Executor) can only return [`sqlx::Error`]. Errors of the server pass through untouched; ours
//! travel as a [`Detail`] inside [`sqlx::Error::Io`]. [`classify`] reads both.

use std::io;
use std::time::Duration;

use hafnium_core::{Fault, Outcome};

pub use super::classify::{Error, classify};
pub(crate) use super::classify::{find, of_handle, of_transaction, raw_loss, verdict};
use super::sqlstate::{Consequence, Stage, Verdict};

/// What went wrong before, around or after the server's own answer. Found inside an [`sqlx::Error`] by [`detail`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Detail {
    /// No node could take the statement in time.
    #[error("no {wanted} within {waited:?}: {reason}")]
    NoNode {
        /// What was looked for: `writable primary` or `node to read from`.
        wanted: &'static str,
        /// How long the caller waited.
        waited: Duration,
        /// What is known of each node.
        reason: String,
    },
    /// Every connection of the pool was in use, or logins took too long.
    #[error(
        "no free connection to {node} within {waited:?}: {size} of {max} open, {idle} idle, {waiting} waiting{}",
        blockers(*.longest, .login.as_deref())
    )]
    PoolTimeout {
        /// The node whose pool it was.
        node: String,
        /// How long the caller waited.
        waited: Duration,
        /// Connections that are open.
        size: usize,
        /// Connections the pool may hold.
        max: usize,
        /// Connections that are open and free; not 0 only when one became free at the last moment.
        idle: usize,
        /// Callers that wait, this one not among them.
        waiting: usize,
        /// How long the operation that has held a connection for longest has had it.
        longest: Option<Duration>,
        /// Why the last login to the node failed, if none worked since.
        login: Option<String>,
    },
    /// A connection became free with so little time left that the statement was not begun: it would most likely have ended
    /// without an answer. The connection serves another.
    #[error(
        "a connection to {node} came after {waited:?}, with {left:?} left of at least {needed:?} that a statement takes there at present"
    )]
    TooLate {
        /// The node.
        node: String,
        /// How long the caller waited.
        waited: Duration,
        /// What was left until the deadline.
        left: Duration,
        /// Two round trips to the node, and no more than a quarter of the operation's time.
        needed: Duration,
    },
    /// The server refused the credentials or the database.
    #[error("{node} refused the login ({state}): {message}")]
    LoginRefused {
        /// The node that refused.
        node: String,
        /// Its SQLSTATE.
        state: String,
        /// Its message; it holds no password.
        message: String,
    },
    /// The deadline came while something was awaited.
    #[error("deadline exceeded after waiting {waited:?} for {waited_for}")]
    Deadline {
        /// What was awaited.
        waited_for: &'static str,
        /// How long.
        waited: Duration,
        /// Whether it happened.
        outcome: Outcome,
    },
    /// The connection was cut because its node must no longer be used.
    #[error("connection to {node} was cut: {reason}")]
    Cut {
        /// The node.
        node: String,
        /// Why: another node is primary, its name has moved, the client is closing, …
        reason: &'static str,
        /// Whether the statement happened.
        outcome: Outcome,
    },
    /// A write was sent to where only reads were asked for: through `reader()`, in a transaction of `read_only()`, or by a
    /// handle whose `target_session_attrs` asks for a standby.
    #[error("a write was sent to {node}, where only reads were asked for: {message}")]
    ReadOnly {
        /// The node that refused.
        node: String,
        /// Its message.
        message: String,
    },
    /// The connection was lost in a transaction, at a time when the outcome of the transaction is known.
    #[error("connection to {node} was lost before COMMIT: {reason}")]
    LostBeforeCommit {
        /// The node.
        node: String,
        /// What was seen.
        reason: String,
    },
    /// The reply to COMMIT did not come: the transaction may have taken effect.
    #[error("the reply to COMMIT of {node} did not come: {reason}")]
    CommitUnknown {
        /// The node.
        node: String,
        /// What was seen.
        reason: String,
    },
    /// An earlier try may have taken effect, and the one after it failed for certain. Said of what was declared
    /// [`idempotent`](super::Postgres::idempotent).
    #[error("an earlier try on {node} may have taken effect, and the next one failed: {reason}")]
    EarlierTry {
        /// The node of the earlier try.
        node: String,
        /// Why the last try failed.
        reason: String,
    },
    /// A statement failed that can commit by itself: a CALL, a DO, or a script with COMMIT in it. What it had committed
    /// before stands.
    #[error("a statement failed on {node} that may have committed a part before")]
    MayHaveCommitted {
        /// The node.
        node: String,
        /// The server's error.
        source: Box<sqlx::Error>,
    },
    /// The closure ended because a row was not as it expects, so that nothing was committed.
    #[error("the transaction was rolled back: a row of it could not be read: {reason}")]
    Unreadable {
        /// What could not be read.
        reason: String,
    },
    /// A statement of the transaction had failed and its error was not returned, so that nothing could be committed.
    #[error("the transaction was rolled back: one of its statements or savepoints had failed")]
    Aborted,
    /// The closure ended without giving its `Tx` back, so that nothing could be committed.
    #[error("the transaction was rolled back: its Tx outlived the closure")]
    TxKept,
    /// The key of `exactly_once` can't be one.
    #[error(
        "the key of exactly_once {reason}: it must have 1 to 255 bytes and no zero byte, and has {length}"
    )]
    MarkerKey {
        /// Its length in bytes. The key itself may be a secret of the caller's.
        length: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `exactly_once` found no table for its markers.
    #[error(
        "the table hafnium_markers is missing, or not in the search path: add hafnium::postgres::MARKERS to the migrations"
    )]
    MarkersMissing,
    /// The token of `reader_after` comes from another database cluster.
    #[error("the token is of the cluster {token:x}, and this is {cluster:x}")]
    ForeignToken {
        /// The system identifier in the token.
        token: u64,
        /// That of this cluster.
        cluster: u64,
    },
    /// BEGIN, COMMIT and their kind on a handle would apply to a connection that the next caller gets.
    #[error("transaction control on a pooled handle; use transaction() instead")]
    TransactionControl,
    /// An earlier statement on a dedicated connection was given up or lost, so that nothing can follow.
    #[error("the connection to {node} can't be used any more: a statement on it was given up or lost")]
    Spent {
        /// The node.
        node: String,
    },
    /// `prepared_statements` is off, so that there is a pooler which has no sessions to give.
    #[error(
        "{what} needs a session of the server, and with prepared_statements = false there is none: use a database entry whose url leads past the pooler"
    )]
    NeedsSession {
        /// What was asked for.
        what: &'static str,
    },
    /// The client was stopped, or not started yet.
    #[error("the client is closed")]
    Closed,
}

/// What stands in the way of a connection, as the end of a sentence.
fn blockers(longest: Option<Duration>, login: Option<&str>) -> String {
    let held = longest.map(|longest| format!(", the longest held for {longest:?}"));
    let login = login.map(|reason| format!("; last login: {reason}"));
    held.into_iter().chain(login).collect()
}

impl Detail {
    /// The same, if what was awaited may have taken effect after all: the closure of a transaction was left while
    /// another handle in it had sent something.
    fn with_doubt(self) -> Self {
        match self {
            Self::Deadline {
                waited_for, waited, ..
            } => Self::Deadline {
                waited_for,
                waited,
                outcome: Outcome::Unknown,
            },
            Self::Cut { node, reason, .. } => Self::Cut {
                node,
                reason,
                outcome: Outcome::Unknown,
            },
            other => other,
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        use Fault::{Capacity, Dependency, Service};
        let (outcome, transient, fault, code) = match self {
            Self::NoNode { .. } => (Outcome::NotRun, true, Dependency, "postgres.no_node"),
            Self::PoolTimeout { .. } => (Outcome::NotRun, true, Capacity, "postgres.pool_timeout"),
            Self::TooLate { .. } => (Outcome::NotRun, true, Capacity, "postgres.too_late"),
            Self::LoginRefused { .. } => (Outcome::NotRun, false, Service, "postgres.login_refused"),
            Self::Deadline { outcome, .. } => (*outcome, true, Dependency, "postgres.deadline_exceeded"),
            Self::Cut { outcome, .. } => (*outcome, true, Dependency, "postgres.cut"),
            Self::ReadOnly { .. } => (Outcome::NotRun, false, Fault::Caller, "postgres.read_only"),
            Self::LostBeforeCommit { .. } => (
                Outcome::RolledBack,
                true,
                Dependency,
                "postgres.lost_before_commit",
            ),
            Self::CommitUnknown { .. } => (Outcome::Unknown, true, Dependency, "postgres.commit_unknown"),
            Self::EarlierTry { .. } => (
                Outcome::Unknown,
                false,
                Dependency,
                "postgres.earlier_try_unknown",
            ),
            Self::MayHaveCommitted { source, .. } => (
                Outcome::Unknown,
                false,
                verdict(source, Stage::Statement).fault,
                "postgres.may_have_committed",
            ),
            Self::Unreadable { .. } => (Outcome::RolledBack, false, Service, "postgres.decode"),
            Self::Aborted => (Outcome::RolledBack, false, Service, "postgres.aborted"),
            Self::TxKept => (Outcome::RolledBack, false, Service, "postgres.tx_kept"),
            Self::MarkerKey { .. } => (Outcome::NotRun, false, Fault::Caller, "postgres.marker_key"),
            Self::MarkersMissing => (Outcome::RolledBack, false, Service, "postgres.markers_missing"),
            Self::ForeignToken { .. } => (Outcome::NotRun, false, Fault::Caller, "postgres.foreign_token"),
            Self::TransactionControl => (Outcome::NotRun, false, Service, "postgres.transaction_control"),
            Self::Spent { .. } => (Outcome::NotRun, false, Service, "postgres.spent"),
            Self::NeedsSession { .. } => (Outcome::NotRun, false, Service, "postgres.needs_session"),
            Self::Closed => (Outcome::NotRun, false, Service, "postgres.closed"),
        };
        Verdict {
            outcome,
            transient,
            once: false,
            consequence: Consequence::Discard,
            fault,
            code,
        }
    }
}

impl From<Detail> for sqlx::Error {
    fn from(detail: Detail) -> Self {
        Self::Io(io::Error::other(detail))
    }
}

/// `error` of a statement that may have committed a part of itself, which its own outcome does not tell of. What was not
/// run has committed nothing.
pub(crate) fn of_part(node: &str, error: sqlx::Error) -> sqlx::Error {
    let certain = verdict(&error, Stage::Statement).outcome == Outcome::RolledBack;
    if !certain || detail(&error).is_some() {
        return error;
    }
    let (node, source) = (node.to_owned(), Box::new(error));
    Detail::MayHaveCommitted { node, source }.into()
}

/// Whether `error` only says of a row of an answer that it is not as its reader expects it.
pub(crate) fn is_unreadable(error: &sqlx::Error) -> bool {
    use sqlx::Error::{ColumnDecode, ColumnIndexOutOfBounds, ColumnNotFound, Decode};
    matches!(
        error,
        ColumnDecode { .. } | ColumnIndexOutOfBounds { .. } | ColumnNotFound(_) | Decode(_)
    )
}

/// `error`, after the closure of its transaction was left while another handle in it had sent something.
pub(crate) fn with_doubt(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Io(io) => match io.downcast::<Detail>() {
            Ok(detail) => detail.with_doubt().into(),
            Err(io) => io.into(),
        },
        error => error,
    }
}

/// The [`Detail`] inside `error`, if the error is the client's own.
pub fn detail(error: &sqlx::Error) -> Option<&Detail> {
    match error {
        sqlx::Error::Io(io) => io.get_ref()?.downcast_ref(),
        _ => None,
    }
}
