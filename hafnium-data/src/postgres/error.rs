//! Errors of the client, and the one answer every error gives.
//!
//! An [`Executor`](sqlx::Executor) can only return [`sqlx::Error`]. Errors of the server pass through untouched; ours
//! travel as a [`Detail`] inside [`sqlx::Error::Io`]. [`classify`] reads both.

use std::io;
use std::time::Duration;

use hafnium_core::{Classified, Classify, Fault, Outcome};

use super::sqlstate::{self, Consequence, Stage, Verdict};

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
    #[error(
        "connection to {node} was cut: the node is deposed, not of this cluster, or the client is closing"
    )]
    Cut {
        /// The node.
        node: String,
        /// Whether the statement happened.
        outcome: Outcome,
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
            Self::Cut { node, .. } => Self::Cut {
                node,
                outcome: Outcome::Unknown,
            },
            other => other,
        }
    }

    fn verdict(&self) -> Verdict {
        use Fault::{Capacity, Dependency, Service};
        let (outcome, transient, fault, code) = match self {
            Self::NoNode { .. } => (Outcome::NotRun, true, Dependency, "postgres.no_node"),
            Self::PoolTimeout { .. } => (Outcome::NotRun, true, Capacity, "postgres.pool_timeout"),
            Self::LoginRefused { .. } => (Outcome::NotRun, false, Service, "postgres.login_refused"),
            Self::Deadline { outcome, .. } => (*outcome, true, Dependency, "postgres.deadline_exceeded"),
            Self::Cut { outcome, .. } => (*outcome, true, Dependency, "postgres.cut"),
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

/// A connection that was lost under an operation of a handle. Marked by its type, so that a transaction around the
/// operation does not take it for the loss of its own connection, which would mean that everything was undone.
#[derive(Debug, thiserror::Error)]
#[error("connection to {node} was lost: {reason}")]
struct LostByHandle {
    node: String,
    reason: io::Error,
}

/// `error` of an operation of a handle; a lost connection is marked, and means what it meant.
pub(crate) fn of_handle(node: &str, error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Io(reason) if reason.get_ref().is_none_or(|inner| !inner.is::<Detail>()) => {
            let node = node.to_owned();
            io::Error::new(reason.kind(), LostByHandle { node, reason }).into()
        }
        error => error,
    }
}

/// What was seen, if `error` is a lost connection that no handle was asked to use: in the closure of a transaction
/// most likely that of the transaction.
pub(crate) fn raw_loss(error: &sqlx::Error) -> Option<&io::Error> {
    let ours = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
        inner.is::<Detail>() || inner.is::<LostByHandle>()
    };
    match error {
        sqlx::Error::Io(io) if !io.get_ref().is_some_and(ours) => Some(io),
        _ => None,
    }
}

/// Did it happen, may it be repeated, whose fault is it: the house's answer for an error of sqlx.
///
/// It knows the error alone: [`sqlx::Error::RowNotFound`] says that the statement ran, which is *unknown* here; returned by
/// [`transaction`](super::Postgres::transaction) it is the answer of the closure, and the transaction was rolled back.
///
/// A function, because neither [`Classify`] nor [`sqlx::Error`] belongs to this crate. [`Error`] is the same for code
/// that wants a type.
///
/// ```
/// use hafnium_core::{Classify, Outcome};
/// use hafnium_data::postgres::classify;
///
/// let answer = classify(&sqlx::Error::PoolTimedOut);
/// assert_eq!(answer.outcome(), Outcome::NotRun);
/// assert!(answer.retryable());
/// ```
pub fn classify(error: &sqlx::Error) -> Classified {
    let verdict = verdict(error, Stage::Statement);
    let retryable = verdict.transient && verdict.outcome != Outcome::Unknown;
    Classified::new(verdict.outcome, retryable, verdict.fault, verdict.code)
}

/// An [`sqlx::Error`] that implements [`Classify`], for signatures that want both.
#[derive(Debug, thiserror::Error)]
#[error("{} ({})", classify(.0).code(), classify(.0).outcome().as_str())]
pub struct Error(#[from] sqlx::Error);

impl Error {
    /// The error of sqlx.
    pub fn get(&self) -> &sqlx::Error {
        &self.0
    }

    /// The error of sqlx, owned.
    pub fn into_inner(self) -> sqlx::Error {
        self.0
    }
}

impl Classify for Error {
    fn outcome(&self) -> Outcome {
        classify(&self.0).outcome()
    }
    fn retryable(&self) -> bool {
        classify(&self.0).retryable()
    }
    fn fault(&self) -> Fault {
        classify(&self.0).fault()
    }
    fn code(&self) -> &'static str {
        classify(&self.0).code()
    }
}

/// What became of the transaction that ended with `error`. An answer that a row was not there, or an error that is not the
/// database's, only ended the closure. (That a row could not be read is told by an error of ours.)
pub(crate) fn of_transaction(error: &(dyn std::error::Error + 'static)) -> Outcome {
    match find(error) {
        Some(sqlx::Error::RowNotFound) | None => Outcome::RolledBack,
        Some(error) => classify(error).outcome(),
    }
}

/// What `error` means when it came at `stage`.
pub(crate) fn verdict(error: &sqlx::Error, stage: Stage) -> Verdict {
    let of = |outcome, transient, consequence, fault, code| Verdict {
        outcome,
        transient,
        once: false,
        consequence,
        fault,
        code,
    };
    use Consequence::{Discard, Keep, Suspect};
    use Fault::{Capacity, Dependency, Service};
    match error {
        sqlx::Error::Database(database) => {
            let state = database.code().unwrap_or_default();
            let message = database.message();
            // Functions that need a primary answer 55000 instead of 25006; the code has other uses.
            if state == "55000" && message.contains("recovery is in progress") {
                sqlstate::verdict("25006", stage)
            } else if state == "0A000" && !message.contains("cached plan must not change result type") {
                // What the server can't do at all.
                sqlstate::verdict("", stage)
            } else {
                sqlstate::verdict(&state, stage)
            }
        }
        sqlx::Error::Io(io) => match detail(error) {
            Some(detail) => detail.verdict(),
            None if io.kind() == io::ErrorKind::ConnectionRefused => of(
                Outcome::NotRun,
                true,
                Suspect,
                Dependency,
                "postgres.connection_refused",
            ),
            // sqlx does not say whether a byte was written, so nothing is assumed.
            None => of(
                Outcome::Unknown,
                true,
                Suspect,
                Dependency,
                "postgres.connection_lost",
            ),
        },
        sqlx::Error::Tls(_) => of(Outcome::NotRun, false, Suspect, Dependency, "postgres.tls"),
        sqlx::Error::Protocol(_) => of(Outcome::Unknown, false, Discard, Dependency, "postgres.protocol"),
        sqlx::Error::Configuration(_) => {
            of(Outcome::NotRun, false, Discard, Service, "postgres.configuration")
        }
        sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_) | sqlx::Error::TypeNotFound { .. } => {
            of(Outcome::NotRun, false, Discard, Service, "postgres.encode")
        }
        sqlx::Error::PoolTimedOut => of(Outcome::NotRun, true, Discard, Capacity, "postgres.pool_timeout"),
        sqlx::Error::PoolClosed => of(Outcome::NotRun, false, Discard, Service, "postgres.closed"),
        // The statement ran; what it did stands.
        sqlx::Error::RowNotFound => of(
            Outcome::Unknown,
            false,
            Keep,
            Fault::Caller,
            "postgres.row_not_found",
        ),
        sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => of(Outcome::Unknown, false, Discard, Service, "postgres.decode"),
        _ => of(Outcome::Unknown, false, Discard, Service, "postgres.other"),
    }
}

/// The error of sqlx that `error` is or was made from.
pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a sqlx::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> sqlx::Error {
        io::Error::from(io::ErrorKind::UnexpectedEof).into()
    }

    #[test]
    fn a_lost_connection_is_unknown_and_not_retryable_as_it_is() {
        let answer = classify(&lost());
        assert_eq!(answer.outcome(), Outcome::Unknown);
        assert!(!answer.retryable());
        assert_eq!(answer.code(), "postgres.connection_lost");
    }

    #[test]
    fn our_own_errors_are_found_again_inside_the_error_of_sqlx() {
        let error = sqlx::Error::from(Detail::Deadline {
            waited_for: "a reply",
            waited: Duration::from_secs(5),
            outcome: Outcome::RolledBack,
        });
        assert!(matches!(detail(&error), Some(Detail::Deadline { .. })));
        assert_eq!(classify(&error).outcome(), Outcome::RolledBack);
        assert!(classify(&error).retryable());
        assert!(detail(&lost()).is_none());
        let told = sqlx::Error::from(Detail::LostBeforeCommit {
            node: "a:5432".into(),
            reason: "end of file".into(),
        });
        assert_eq!(classify(&told).outcome(), Outcome::RolledBack);
        assert!(classify(&told).retryable());
    }

    #[test]
    fn a_loss_under_a_handle_means_the_same_and_is_told_from_that_of_a_bare_connection() {
        assert!(raw_loss(&lost()).is_some());
        let marked = of_handle("a:5432", lost());
        assert!(raw_loss(&marked).is_none() && detail(&marked).is_none());
        assert_eq!(
            verdict(&marked, Stage::Statement),
            verdict(&lost(), Stage::Statement)
        );
        assert!(marked.to_string().contains("a:5432"), "{marked}");
        let refused = of_handle("a:5432", io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert_eq!(classify(&refused).outcome(), Outcome::NotRun);
        let told = of_handle("a:5432", Detail::Closed.into());
        assert!(matches!(detail(&told), Some(Detail::Closed)));
        assert!(raw_loss(&told).is_none());
        assert!(raw_loss(&sqlx::Error::RowNotFound).is_none());
    }

    #[test]
    fn an_error_of_sqlx_is_found_through_the_sources_of_others() {
        #[derive(Debug, thiserror::Error)]
        #[error("scoring failed")]
        struct Scoring(#[from] Error);
        let outer = Scoring(Error(sqlx::Error::RowNotFound));
        assert!(matches!(find(&outer), Some(sqlx::Error::RowNotFound)));
        assert!(find(&io::Error::other("else")).is_none());
    }

    #[test]
    fn the_text_of_the_newtype_does_not_repeat_its_source() {
        let error = Error(lost());
        assert_eq!(error.to_string(), "postgres.connection_lost (unknown)");
    }
}
