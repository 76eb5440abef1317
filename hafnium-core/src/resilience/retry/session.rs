//! The attempts of one call.

use std::time::Duration;

use super::decision::{GiveUp, decide};
use super::policy::RetryPolicy;
use crate::classify::{Classify, Outcome};
use crate::deadline::Deadline;

/// What follows a failed attempt.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<E> {
    /// Another attempt after this pause.
    RetryAfter(Duration),
    /// The call has failed with this error.
    GiveUp(E),
}

/// Counts the attempts of one call and decides after each. Made by [`RetryPolicy::session`].
#[derive(Debug)]
#[must_use]
pub struct RetrySession<E> {
    policy: RetryPolicy,
    deadline: Option<Deadline>,
    failed: u32,
    /// The first error, or the first of unknown outcome once there is one.
    kept: Option<E>,
}

impl<E: Classify> RetrySession<E> {
    pub(super) fn begin(policy: RetryPolicy) -> Self {
        policy.budget().deposit();
        Self {
            policy,
            deadline: Deadline::current(),
            failed: 0,
            kept: None,
        }
    }

    /// How many attempts have failed so far.
    pub fn failures(&self) -> u32 {
        self.failed
    }

    /// An attempt failed. A retry that this allows is already paid for and counted.
    pub fn failed(&mut self, error: E) -> Step<E> {
        self.failed = self.failed.saturating_add(1);
        let left = self.deadline.map(Deadline::remaining);
        let rules = self.policy.rules();
        let idempotent = self.policy.is_idempotent();
        let decision = decide(&rules, &error, idempotent, self.failed, left, fastrand::f64());
        let decision = match decision {
            Ok(_) if !self.policy.budget().withdraw() => Err(GiveUp::Budget),
            decision => decision,
        };
        match decision {
            Ok(pause) => {
                tracing::debug!(attempt = self.failed, code = error.code(), ?pause, "repeated");
                self.policy.figures().retried();
                self.keep(error);
                Step::RetryAfter(pause)
            }
            Err(reason) => {
                self.policy.figures().gave_up(reason);
                Step::GiveUp(self.answer(error, reason))
            }
        }
    }

    /// There is no further attempt, because of `error` and without one. The call's error is this, or an earlier one of
    /// unknown outcome.
    pub(super) fn ended(&mut self, error: E) -> E {
        self.answer(error, GiveUp::NotRetryable)
    }

    /// The call succeeded.
    pub fn succeeded(&mut self) {
        if self.failed > 0 {
            self.policy.figures().succeeded();
        }
    }

    fn keep(&mut self, error: E) {
        let kept = self.kept.as_ref().map(Classify::outcome);
        if kept.is_none() || (kept != Some(Outcome::Unknown) && error.outcome() == Outcome::Unknown) {
            self.kept = Some(error);
        }
    }

    /// The error that is given back: the first without a budget, else the last; one of unknown outcome before both.
    fn answer(&mut self, last: E, reason: GiveUp) -> E {
        let prefers_first = reason == GiveUp::Budget;
        let last_is_unknown = last.outcome() == Outcome::Unknown;
        match self.kept.take() {
            Some(kept) if kept.outcome() == Outcome::Unknown => {
                if last_is_unknown && !prefers_first {
                    last
                } else {
                    kept
                }
            }
            Some(first) if prefers_first && !last_is_unknown => first,
            Some(_) | None => last,
        }
    }
}
