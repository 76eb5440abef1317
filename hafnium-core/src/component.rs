//! What a part of a service is: something that is started once, in order, and stopped once, within a deadline.

use std::future::Future;
use std::pin::Pin;

use crate::context::Context;
use crate::deadline::Deadline;

/// A boxed future that may move between threads; what keeps [`Component`] object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A part of a service with a beginning and an end, such as a connection pool or a consumer.
///
/// Components start in declaration order and stop in reverse order. An implementor must make `stop` return by its
/// deadline, whatever its peers do.
pub trait Component: Send + Sync + 'static {
    /// The name in logs, verdicts and reports, such as `postgres.ledger`.
    fn name(&self) -> &str;

    /// Starts; returns once the component can serve. Called again after a [`StartError::retryable`] error, with
    /// backoff, until the start deadline of the service.
    fn start<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), StartError>>;

    /// Stops by `deadline` and says whether everything ended.
    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped>;

    /// What is still under way, one thing per entry, such as `POST /payments for 3.2s`. Asked every 5 s while a stop
    /// waits, and when its deadline came; must not block. Default: nothing in particular.
    fn under_way(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a component did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A dependency did not answer as needed; worth trying again until the start deadline. Exit code 69.
    #[error("{component}: required dependency is unavailable: {reason}")]
    Unavailable {
        /// The component's name.
        component: String,
        /// What was seen, without secrets.
        reason: String,
    },
    /// What was configured can't work; trying again is of no use. Exit code 78.
    #[error("{component}: configuration can't work: {reason}")]
    Configuration {
        /// The component's name.
        component: String,
        /// What can't work and what is accepted.
        reason: String,
    },
    /// The component itself failed. Exit code 1.
    #[error("{component}: failed to start: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// What failed.
        reason: String,
    },
}

impl StartError {
    /// A dependency is unavailable.
    pub fn unavailable(component: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unavailable {
            component: component.into(),
            reason: reason.to_string(),
        }
    }

    /// The configuration can't work.
    pub fn configuration(component: impl Into<String>, reason: impl ToString) -> Self {
        Self::Configuration {
            component: component.into(),
            reason: reason.to_string(),
        }
    }

    /// The component failed.
    pub fn failed(component: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed {
            component: component.into(),
            reason: reason.to_string(),
        }
    }

    /// Whether starting again may succeed.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// How a component's stop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Stopped {
    /// Everything it held was finished or handed back.
    Clean,
    /// The deadline came first; each entry names one thing that was still under way.
    Incomplete(Vec<String>),
}

impl Stopped {
    /// What was still under way; empty after a clean stop.
    pub fn stragglers(&self) -> &[String] {
        match self {
            Self::Clean => &[],
            Self::Incomplete(stragglers) => stragglers,
        }
    }
}
