//! One failure vocabulary for every client.
//!
//! Retries, breakers, health, metrics and logs read the same answer from an error: did it happen, may it be
//! repeated, whose fault is it, and a stable code.

use std::time::Duration;

/// Whether the operation behind an error took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Certainly not executed.
    NotRun,
    /// Executed and certainly undone.
    RolledBack,
    /// May have taken effect; only the data can tell.
    Unknown,
}

impl Outcome {
    /// The stable name used in metrics and logs: `not_run`, `rolled_back`, `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The caller sent something that can never work.
    Caller,
    /// A defect or misconfiguration of this service.
    Service,
    /// A server this service depends on.
    Dependency,
    /// There was no room: a pool, queue or limit was exhausted.
    Capacity,
}

impl Fault {
    /// The stable name used in metrics and logs: `caller`, `service`, `dependency`, `capacity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Service => "service",
            Self::Dependency => "dependency",
            Self::Capacity => "capacity",
        }
    }
}

/// What every error of every client answers.
///
/// `retryable` says that repeating the *same* operation may succeed and can do no harm on its own; an
/// [`Outcome::Unknown`] is therefore only retryable where the caller declared the operation idempotent.
pub trait Classify {
    /// Did it happen?
    fn outcome(&self) -> Outcome;
    /// May it be repeated as it is?
    fn retryable(&self) -> bool;
    /// Whose fault is it?
    fn fault(&self) -> Fault;
    /// A stable, low-cardinality code for metrics and logs, such as `postgres.57P01`.
    fn code(&self) -> &'static str;
    /// Before when repeating is in vain, where the one that refused said so: a server's `Retry-After`, the rest of
    /// an open breaker's time. Default: nobody said so.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// An answer to [`Classify`] taken from an error of another library, which can't implement the trait itself: neither
/// the trait nor the type belongs to the crate that knows the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Classified {
    outcome: Outcome,
    retryable: bool,
    fault: Fault,
    code: &'static str,
    retry_after: Option<Duration>,
}

impl Classified {
    /// The answer with these four parts; nobody said when to come back.
    pub const fn new(outcome: Outcome, retryable: bool, fault: Fault, code: &'static str) -> Self {
        Self {
            outcome,
            retryable,
            fault,
            code,
            retry_after: None,
        }
    }

    /// What `error` answers.
    pub fn of(error: &(impl Classify + ?Sized)) -> Self {
        Self {
            outcome: error.outcome(),
            retryable: error.retryable(),
            fault: error.fault(),
            code: error.code(),
            retry_after: error.retry_after(),
        }
    }
}

impl Classify for Classified {
    fn outcome(&self) -> Outcome {
        self.outcome
    }
    fn retryable(&self) -> bool {
        self.retryable
    }
    fn fault(&self) -> Fault {
        self.fault
    }
    fn code(&self) -> &'static str {
        self.code
    }
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}
