//! The start: components in declaration order, each tried again while its dependency is unavailable, all under one
//! deadline.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::component::{Component, StartError};
use crate::config;
use crate::context::Context;
use crate::deadline::Deadline;

/// The section `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StartSettings {
    /// How long all components together may take to start, waiting for unavailable dependencies included. Default
    /// `30s`.
    pub deadline: config::Duration,
}

impl Default for StartSettings {
    fn default() -> Self {
        Self {
            deadline: config::Duration::from_secs(30),
        }
    }
}

impl config::Section for StartSettings {
    const KEY: &'static str = "start";
    type Settings = Self;
}

/// What a start is waiting for, for `startupz?verbose`. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    waiting: Arc<Mutex<Option<Waiting>>>,
}

/// The component that is being started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Its name.
    pub component: String,
    /// Since when.
    pub since: Instant,
    /// How many attempts failed.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: Option<String>,
}

impl Progress {
    /// Nothing is waited for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is waited for now.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says that the start waits for `what`, which is no component, from now on.
    pub fn waits_for(&self, what: &str) {
        self.set(Some(Waiting {
            component: what.to_owned(),
            since: Instant::now(),
            attempts: 0,
            reason: None,
        }));
    }

    /// Says that what is waited for was tried once more in vain, and why. The reason is shown to whoever reaches the
    /// operator listener, so it holds no secret.
    pub fn failed(&self, reason: impl Into<String>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = &mut *waiting {
            waiting.attempts += 1;
            waiting.reason = Some(reason.into());
        }
    }

    /// Says that what was waited for is done.
    pub fn waits_for_nothing(&self) {
        self.set(None);
    }

    fn set(&self, waiting: Option<Waiting>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}

/// A start that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", after(*.attempts, *.waited))]
#[non_exhaustive]
pub struct StartFailure {
    /// Why, and with that the exit code: unavailable (69), configuration (78), failed (1).
    pub error: StartError,
    /// How many components had started before; they are to be stopped.
    pub started: usize,
    /// How often the failed one was tried.
    pub attempts: u32,
    /// How long the failed one was tried.
    pub waited: Duration,
}

fn after(attempts: u32, waited: Duration) -> String {
    match attempts {
        0 | 1 => String::new(),
        _ => format!(
            " (gave up after {attempts} attempts in {:.1}s)",
            waited.as_secs_f64()
        ),
    }
}

/// Starts `components` in order. A component whose dependency is unavailable is tried again, with jittered backoff from
/// 100 ms to 2 s, until `deadline`; any other error ends the start at once.
///
/// Cancel-safety: a component that is being started is dropped in the middle of its start; the ones before it have
/// started and are to be stopped. `progress` does not tell which.
///
/// # Errors
/// [`StartFailure`] with the error of the first component that did not start.
pub async fn start(
    components: &[Arc<dyn Component>],
    cx: &Context,
    deadline: Deadline,
    progress: &Progress,
) -> Result<(), StartFailure> {
    for (started, component) in components.iter().enumerate() {
        let begun = Instant::now();
        let mut waiting = Waiting {
            component: component.name().to_owned(),
            since: begun,
            attempts: 0,
            reason: None,
        };
        loop {
            progress.set(Some(waiting.clone()));
            let Err(error) = attempt(component.as_ref(), cx, deadline, &waiting).await else {
                break;
            };
            waiting.attempts += 1;
            let delay = backoff(waiting.attempts, fastrand::f64());
            if !error.retryable() || deadline.remaining() <= delay {
                return Err(StartFailure {
                    error,
                    started,
                    attempts: waiting.attempts,
                    waited: begun.elapsed(),
                });
            }
            tracing::warn!(
                component = waiting.component,
                attempts = waiting.attempts,
                left = ?deadline.remaining(),
                "{error}; trying again"
            );
            waiting.reason = Some(reason(&error).to_owned());
            progress.set(Some(waiting.clone()));
            tokio::time::sleep(delay).await;
        }
        tracing::info!(component = waiting.component, took = ?begun.elapsed(), "started");
    }
    progress.set(None);
    Ok(())
}

async fn attempt(
    component: &dyn Component,
    cx: &Context,
    deadline: Deadline,
    before: &Waiting,
) -> Result<(), StartError> {
    let run = AssertUnwindSafe(async { component.start(cx).await }).catch_unwind();
    match deadline.bound("the component to start", run).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(StartError::failed(component.name(), "panicked while starting")),
        Err(late) => {
            let last = before.reason.as_deref().unwrap_or("none before");
            let reason = format!("no answer within {:?} (last error: {last})", late.waited);
            Err(StartError::unavailable(component.name(), reason))
        }
    }
}

/// The reason without the component's name, which the probe prints beside it.
fn reason(error: &StartError) -> &str {
    match error {
        StartError::Unavailable { reason, .. }
        | StartError::Configuration { reason, .. }
        | StartError::Failed { reason, .. } => reason,
    }
}

/// 100 ms doubled per failed attempt up to 2 s, of which at least half is waited. `random` is in 0..1.
fn backoff(attempts: u32, random: f64) -> Duration {
    let full = Duration::from_millis(100 << attempts.saturating_sub(1).min(5)).min(Duration::from_secs(2));
    full.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_from_100_ms_to_2_s() {
        let full: Vec<u128> = (1..8).map(|n| backoff(n, 1.0).as_millis()).collect();
        assert_eq!(full, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff(1, 0.0).as_millis(), 50);
    }
}
