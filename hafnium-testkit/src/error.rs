//! What can go wrong between wanting a server and having one.

use std::time::Duration;

/// Why a server, a fault or a wait did not come to what was asked. The text is made to be read in a test's output: it
/// says what was being done and, where a server is involved, ends with the last lines of its log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that must be installed is not.
    #[error("{what} is not installed: {hint}")]
    Missing {
        /// What was looked for.
        what: String,
        /// How to get it.
        hint: String,
    },
    /// The operating system refused.
    #[error("could not {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// A program ended although it should run, or ended without success.
    #[error("{name} ended with {status}; its log ends:\n{log}")]
    Ended {
        /// The process by the name it has in the cluster.
        name: String,
        /// Exit status or signal.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A wait came to its end first.
    #[error("waited {waited:?} for {what}, last answer: {last}\n{log}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// The last thing that was seen instead.
        last: String,
        /// The last lines of the logs of the servers involved.
        log: String,
    },
    /// A server answered with something else than what was needed to go on.
    #[error("could not {doing}: {answer}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The server's answer.
        answer: String,
    },
    /// A fault was injected, but what must show that it happened does not: the run counts as *not run*.
    #[error("{fault} is without proof: {detail}")]
    Unproven {
        /// The fault.
        fault: String,
        /// What was seen instead of the proof.
        detail: String,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }

    /// A fault without proof, for faults that are built outside of this crate as well.
    pub fn unproven(fault: impl Into<String>, detail: impl Into<String>) -> Error {
        Error::Unproven {
            fault: fault.into(),
            detail: detail.into(),
        }
    }

    /// A server's answer that does not let the caller go on.
    pub fn refused(doing: impl Into<String>, answer: impl ToString) -> Error {
        Error::Refused {
            doing: doing.into(),
            answer: answer.to_string(),
        }
    }
}
