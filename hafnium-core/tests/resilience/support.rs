//! Errors and services that the tests are made of.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hafnium_core::config;
use hafnium_core::resilience::{BreakerSettings, BulkheadSettings, RetrySettings};
use hafnium_core::{BoxFuture, Classify, Fault, Outcome};
use tower::Service;

/// An error that says of itself what the test wants, and has a number to be told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) number: u32,
    pub(crate) outcome: Outcome,
    pub(crate) retryable: bool,
    pub(crate) fault: Fault,
    pub(crate) retry_after: Option<Duration>,
}

/// The dependency refused: not run, worth another attempt.
pub(crate) fn refused(number: u32) -> Failed {
    Failed {
        number,
        outcome: Outcome::NotRun,
        retryable: true,
        fault: Fault::Dependency,
        retry_after: None,
    }
}

/// The connection broke: nobody knows.
pub(crate) fn unknown(number: u32) -> Failed {
    Failed {
        outcome: Outcome::Unknown,
        ..refused(number)
    }
}

/// The caller asked for what can't be.
pub(crate) fn invalid(number: u32) -> Failed {
    Failed {
        retryable: false,
        fault: Fault::Caller,
        ..refused(number)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {}", self.number)
    }
}

impl Classify for Failed {
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
        "test.failed"
    }
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn written(duration: Duration) -> config::Duration {
    duration.into()
}

/// Many attempts, no jitter to speak of, and a budget that does not matter.
pub(crate) fn attempts(max_attempts: u32) -> RetrySettings {
    let mut settings = RetrySettings::default();
    settings.max_attempts = max_attempts;
    settings
}

/// Opens at two failures, closes after two probes, waits five seconds.
pub(crate) fn touchy() -> BreakerSettings {
    let mut settings = BreakerSettings::default();
    (settings.minimum_calls, settings.probes) = (2, 2);
    settings
}

pub(crate) fn places(max_concurrent: u32, max_queued: u32) -> BulkheadSettings {
    let mut settings = BulkheadSettings::default();
    (settings.max_concurrent, settings.max_queued) = (max_concurrent, max_queued);
    settings
}

/// What a [`Strict`] service has seen and is to do next.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) asked: u32,
    pub(crate) called: u32,
    pub(crate) under_way: u32,
    pub(crate) answers: Vec<Result<u32, Failed>>,
    pub(crate) blocked: bool,
    pub(crate) unready: Option<Failed>,
    pub(crate) hangs: bool,
    wakers: Vec<Waker>,
}

/// A service that panics when it is called without having been ready, and hands out its answers in order.
#[derive(Default)]
pub(crate) struct Strict {
    pub(crate) seen: Arc<Mutex<Seen>>,
    ready: bool,
}

impl Strict {
    pub(crate) fn answering(answers: impl IntoIterator<Item = Result<u32, Failed>>) -> Self {
        let strict = Self::default();
        strict.seen.lock().unwrap().answers = answers.into_iter().collect();
        strict
    }

    /// Not ready until [`Strict::unblock`].
    pub(crate) fn blocked() -> Self {
        let strict = Self::default();
        strict.seen.lock().unwrap().blocked = true;
        strict
    }

    pub(crate) fn unblock(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.blocked = false;
        seen.wakers.drain(..).for_each(Waker::wake);
    }
}

/// A clone has reserved nothing.
impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            seen: self.seen.clone(),
            ready: false,
        }
    }
}

struct UnderWay(Arc<Mutex<Seen>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}

impl Service<u32> for Strict {
    type Response = u32;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<u32, Failed>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let mut seen = self.seen.lock().unwrap();
        seen.asked += 1;
        if let Some(error) = seen.unready.take() {
            return Poll::Ready(Err(error));
        }
        if seen.blocked {
            seen.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been ready"
        );
        let mut seen = self.seen.lock().unwrap();
        seen.called += 1;
        seen.under_way += 1;
        let answer = (!seen.answers.is_empty()).then(|| seen.answers.remove(0));
        let (hangs, under_way) = (seen.hangs, UnderWay(self.seen.clone()));
        Box::pin(async move {
            let _under_way = under_way;
            if hangs {
                std::future::pending::<()>().await;
            }
            answer.unwrap_or(Ok(request))
        })
    }
}

/// Polls a service's readiness once.
pub(crate) async fn readiness<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    std::future::poll_fn(|cx| Poll::Ready(service.poll_ready(cx))).await
}

/// Polls a future once.
pub(crate) async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}
