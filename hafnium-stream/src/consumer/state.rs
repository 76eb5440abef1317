//! What others may see of a consumer while its thread runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hafnium_core::health::Status;
use tokio::sync::watch;
use tokio::time::Instant;

/// After this the polling thread counts as silent. A commit without a coordinator blocks it for a session timeout.
const SILENT: Duration = Duration::from_secs(30);

/// What may be wrong without ending the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    Subscription,
    Commits,
    DeadLetters,
}

impl Problem {
    fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Commits => "commits",
            Self::DeadLetters => "dead letters",
        }
    }
}

/// How the thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it was asked to.
    Asked,
    /// By itself; says why.
    Failed(String),
}

pub(crate) struct State {
    polled: Mutex<Instant>,
    problems: Mutex<BTreeMap<Problem, String>>,
    stragglers: Mutex<Vec<String>>,
    failed: OnceLock<String>,
    started: watch::Sender<bool>,
    ended: watch::Sender<Option<Ending>>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            polled: Mutex::new(Instant::now()),
            problems: Mutex::default(),
            stragglers: Mutex::default(),
            failed: OnceLock::new(),
            started: watch::Sender::new(false),
            ended: watch::Sender::new(None),
        }
    }

    pub(crate) fn start(&self) {
        self.started.send_replace(true);
        self.poll();
    }

    pub(crate) fn is_started(&self) -> bool {
        *self.started.borrow()
    }

    /// The polling thread lives.
    pub(crate) fn poll(&self) {
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Something is wrong; logged once for as long as it stays.
    pub(crate) fn raise(&self, problem: Problem, reason: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.insert(problem, reason.clone()).is_none() {
            tracing::warn!(problem = problem.as_str(), reason, "the consumer is degraded");
        }
    }

    pub(crate) fn solve(&self, problem: Problem) {
        let solved = self
            .problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&problem);
        if solved.is_some() {
            tracing::info!(problem = problem.as_str(), "the consumer has recovered");
        }
    }

    pub(crate) fn set_stragglers(&self, names: Vec<String>) {
        *self.stragglers.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub(crate) fn stragglers(&self) -> Vec<String> {
        self.stragglers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The consumer can't go on, and is on its way out; the first reason stays.
    pub(crate) fn fail(&self, reason: String) {
        self.failed.get_or_init(|| reason);
    }

    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// The thread ends; the first reason stays.
    pub(crate) fn end(&self, ending: Ending) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(ending);
            }
            first
        });
    }

    pub(crate) fn ended(&self) -> Option<Ending> {
        self.ended.borrow().clone()
    }

    /// Waits until the thread has ended.
    ///
    /// Cancel-safe.
    pub(crate) async fn wait_ended(&self) {
        // The sender is this state's own, so the wait can't fail.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    /// Never down for what a broker does: another consumer's attempt would end the same way.
    pub(crate) fn health(&self, now: Instant) -> Status {
        match self.ended() {
            Some(Ending::Failed(reason)) => return Status::Down(reason),
            Some(Ending::Asked) => return Status::Degraded("stopped".into()),
            None if !self.is_started() => return Status::Degraded("not started".into()),
            None => {}
        }
        // It finishes what it holds and takes nothing more.
        if let Some(reason) = self.failed() {
            return Status::Down(reason.to_owned());
        }
        let silent =
            now.saturating_duration_since(*self.polled.lock().unwrap_or_else(PoisonError::into_inner));
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reasons: Vec<String> = problems
            .iter()
            .map(|(problem, reason)| format!("{}: {reason}", problem.as_str()))
            .collect();
        if silent > SILENT {
            reasons.push(format!("the polling thread is silent for {} s", silent.as_secs()));
        }
        if reasons.is_empty() {
            Status::Up
        } else {
            Status::Degraded(reasons.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_degrades_and_only_an_end_of_its_own_is_down() {
        let state = State::new();
        let now = Instant::now();
        assert!(matches!(state.health(now), Status::Degraded(_)));
        state.start();
        assert_eq!(state.health(now), Status::Up);
        state.raise(Problem::DeadLetters, "no topic".into());
        assert_eq!(
            state.health(now),
            Status::Degraded("dead letters: no topic".into())
        );
        state.solve(Problem::DeadLetters);
        assert_eq!(state.health(now), Status::Up);
        assert!(matches!(state.health(now + SILENT * 2), Status::Degraded(_)));
        state.fail("a handler said stop".into());
        state.fail("another one did".into());
        assert_eq!(
            state.health(now),
            Status::Down("a handler said stop".into()),
            "before it has ended"
        );
        state.end(Ending::Failed("a handler said stop".into()));
        state.end(Ending::Asked);
        assert_eq!(state.health(now), Status::Down("a handler said stop".into()));
    }
}
