//! The loops around a task's runs: once, again by its policy, or each period.

use std::any::Any;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Fatal;
use super::every::{Every, Grid};
use super::observe::{Condition, Failure, Observer};
use super::restart::{Next, Restart, Restarts};

/// What a task may end with: nothing, or a result whose error is a failure.
pub trait TaskOutput: private::Sealed {
    #[doc(hidden)]
    fn error(self) -> Option<String>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

impl TaskOutput for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> TaskOutput for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// A run to its end, whatever that is. `run` is made within, so that also a panic before its first await is caught.
async fn attempt<Fut>(run: impl FnOnce() -> Fut, observer: &Observer) -> Option<Failure>
where
    Fut: Future<Output: TaskOutput>,
{
    let run = AssertUnwindSafe(async { run().await.error() }).catch_unwind();
    let failure = match run.await {
        Ok(error) => error.map(Failure::Error),
        Err(payload) => Some(Failure::Panic(message(payload.as_ref()))),
    };
    observer.ran(failure.as_ref());
    failure
}

/// The text of a panic.
pub(super) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}

/// Runs a task once.
pub(super) async fn once<Fut>(name: &str, task: Fut, observer: &Observer) -> Result<(), Fatal>
where
    Fut: Future<Output: TaskOutput>,
{
    match attempt(|| task, observer).await {
        None => Ok(()),
        Some(failure) => Err(Fatal::new(name, failure.to_string())),
    }
}

/// Runs a task again and again as `policy` says.
pub(super) async fn again<Fut>(
    name: &str,
    policy: Restart,
    mut make: impl FnMut() -> Fut,
    observer: &Observer,
    condition: &Condition,
) -> Result<(), Fatal>
where
    Fut: Future<Output: TaskOutput>,
{
    let settled = policy.settled();
    let mut restarts = Restarts::new(policy);
    loop {
        let begun = Instant::now();
        condition.running_until(begun + settled);
        let failure = attempt(&mut make, observer).await;
        let next = restarts.ended(failure.is_some(), begun.elapsed(), fastrand::f64());
        match &failure {
            Some(failure) => condition.failed(restarts.failures(), failure),
            None => condition.well(),
        }
        match (next, failure) {
            (Next::Finished, _) => return Ok(()),
            (Next::GiveUp, failure) => return Err(Fatal::after(name, restarts.failures(), failure)),
            (Next::After(wait), failure) => {
                match failure {
                    Some(failure) => tracing::warn!(
                        task = name,
                        failures = restarts.failures(),
                        ?wait,
                        "background task {failure}; running it again"
                    ),
                    None => tracing::debug!(task = name, ?wait, "background task ended; running it again"),
                }
                sleep(wait).await;
                observer.restarted();
            }
        }
    }
}

/// Runs a task each period.
pub(super) async fn each<Fut>(
    name: &str,
    every: Every,
    mut make: impl FnMut() -> Fut,
    observer: &Observer,
    condition: &Condition,
) -> Fatal
where
    Fut: Future<Output: TaskOutput>,
{
    let mut grid = Grid::new(Instant::now(), every.period);
    let restarts_panics = every.restart.restarts();
    let mut restarts = Restarts::new(if restarts_panics {
        every.restart
    } else {
        Restart::on_failure()
    });
    // Not before this, whatever the next tick is.
    let mut earliest = Instant::now();
    let mut due = every.at_once.then_some(earliest);
    loop {
        let at = due.take().unwrap_or_else(|| {
            let tick = grid.next(earliest.max(Instant::now()));
            observer.skipped(tick.skipped);
            tick.at + every.period.mul_f64(every.jitter * fastrand::f64())
        });
        sleep_until(at).await;
        let begun = Instant::now();
        let failure = match timeout(every.timeout, attempt(&mut make, observer)).await {
            Ok(failure) => failure,
            Err(_) => {
                let late = Failure::Timeout(every.timeout);
                observer.ran(Some(&late));
                Some(late)
            }
        };
        let Some(failure) = failure else {
            restarts.ended(false, Duration::ZERO, 0.0);
            condition.well();
            continue;
        };
        if let (Failure::Panic(_), false) = (&failure, restarts_panics) {
            return Fatal::new(name, failure.to_string());
        }
        // Ticks are no long run: a failure counts together with the one of the tick before.
        let next = restarts.ended(true, Duration::ZERO, fastrand::f64());
        condition.failed(restarts.failures(), &failure);
        match next {
            Next::After(wait) if restarts_panics => earliest = Instant::now() + wait,
            Next::GiveUp => return Fatal::after(name, restarts.failures(), Some(failure)),
            _ => {}
        }
        tracing::warn!(
            task = name,
            failures = restarts.failures(),
            took = ?begun.elapsed(),
            "a run of a periodic task {failure}"
        );
    }
}
