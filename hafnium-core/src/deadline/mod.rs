//! Time as one instant that travels with the work.
//!
//! Every operation runs under the nearest of: the caller's own limit, the deadline of the request or record it
//! serves (task-local, set by the layers), and the client's default. A wider limit never wins over a nearer one.
//! [`wire`] carries it to the next process.

mod bounded;
pub mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

pub(crate) use self::bounded::Bounded;
use crate::classify::{Classify, Fault, Outcome};

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The instant by which work must have ended.
///
/// Built on tokio's clock, so that tests with a paused clock hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `limit` from now. Limits beyond 30 years are cut to that.
    pub fn after(limit: Duration) -> Self {
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        Self(Instant::now() + limit.min(FAR))
    }

    /// The deadline at `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline of the request or record that this task serves, if it serves one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// The nearer of the current task's deadline and `limit` from now.
    pub fn nearest(limit: Duration) -> Self {
        let own = Self::after(limit);
        Self::current().map_or(own, |current| current.min(own))
    }

    /// Runs `future` with this as the task's deadline; an enclosing nearer deadline stays in force.
    ///
    /// Cancel-safety: as that of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        self.scoped(future).await
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left; zero once the deadline passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline passed.
    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits for `future` no longer than this deadline. `waited_for` names what the wait was for.
    ///
    /// # Errors
    /// [`DeadlineExceeded`] when the deadline came first; `future` is dropped then.
    ///
    /// Cancel-safety: as that of `future`.
    pub async fn bound<F: Future>(
        self,
        waited_for: &'static str,
        future: F,
    ) -> Result<F::Output, DeadlineExceeded> {
        self.bounded(waited_for, future).await
    }

    /// The same as a future with a name.
    pub(crate) fn bounded<F: Future>(self, waited_for: &'static str, future: F) -> Bounded<F> {
        Bounded::new(self, waited_for, future)
    }

    /// [`scope`](Self::scope) as a future with a name.
    pub(crate) fn scoped<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        let nearest = Self::current().map_or(self, |current| current.min(self));
        CURRENT.scope(nearest, future)
    }
}

/// A deadline came before the awaited thing did. Says what was waited for and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline exceeded after waiting {waited:?} for {waited_for}")]
#[non_exhaustive]
pub struct DeadlineExceeded {
    /// What the wait was for.
    pub waited_for: &'static str,
    /// How long this wait lasted.
    pub waited: Duration,
}

impl DeadlineExceeded {
    /// An error for a wait of `waited` that the caller bounded itself.
    pub fn new(waited_for: &'static str, waited: Duration) -> Self {
        Self { waited_for, waited }
    }
}

/// The outcome of an abandoned wait is unknown unless the caller knows that nothing was sent.
impl Classify for DeadlineExceeded {
    fn outcome(&self) -> Outcome {
        Outcome::Unknown
    }
    fn retryable(&self) -> bool {
        false
    }
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
    fn code(&self) -> &'static str {
        "deadline_exceeded"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wider_scope_never_wins_over_a_nearer_one() {
        let near = Deadline::after(Duration::from_secs(1));
        near.scope(async {
            let wide = Deadline::after(Duration::from_secs(60));
            wide.scope(async { assert_eq!(Deadline::current(), Some(near)) })
                .await;
            assert_eq!(Deadline::nearest(Duration::from_secs(5)), near);
            assert!(Deadline::nearest(Duration::from_millis(10)) < near);
        })
        .await;
        assert_eq!(Deadline::current(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_says_what_it_waited_for() {
        let limit = Duration::from_millis(250);
        let error = Deadline::after(limit)
            .bound("a reply that never comes", std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(error.waited, limit);
        assert!(error.to_string().contains("a reply that never comes"));
    }
}
