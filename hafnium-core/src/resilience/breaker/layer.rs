//! The breaker as a tower layer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::admission::Admission;
use super::error::BreakerOpen;
use super::handle::Breaker;
use crate::classify::Classify;
use crate::resilience::error::CallError;

/// Puts a breaker in front of a service. Made by [`Breaker::layer`]; every service it makes shares the breaker's state.
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    breaker: Breaker,
}

impl BreakerLayer {
    pub(super) fn new(breaker: Breaker) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, service: S) -> BreakerService<S> {
        BreakerService {
            breaker: self.breaker.clone(),
            service,
            readiness: Readiness::Unasked,
        }
    }
}

/// A service behind a breaker.
///
/// `poll_ready` asks the breaker first. While it refuses, the service is ready to refuse (an error of readiness would
/// tell the caller to throw the service away), and the one below is not asked. When it lets the call through, that leave
/// is held until the service below is ready and the call is made; dropping the service gives it back.
#[derive(Debug)]
pub struct BreakerService<S> {
    breaker: Breaker,
    service: S,
    readiness: Readiness,
}

#[derive(Debug)]
enum Readiness {
    Unasked,
    Admitted(Admission),
    Refused(BreakerOpen),
}

/// What was reserved stays with the one that reserved it.
impl<S: Clone> Clone for BreakerService<S> {
    fn clone(&self) -> Self {
        Self {
            breaker: self.breaker.clone(),
            service: self.service.clone(),
            readiness: Readiness::Unasked,
        }
    }
}

impl<S> BreakerService<S> {
    /// The leave of `poll_ready`, unless the state has changed since; then a new one. A refusal stays one: the service
    /// below was not asked.
    fn admission(&mut self) -> Result<Admission, BreakerOpen> {
        match std::mem::replace(&mut self.readiness, Readiness::Unasked) {
            Readiness::Admitted(mut admission) => {
                if admission.begin() {
                    return Ok(admission);
                }
                drop(admission);
                self.breaker.admit()
            }
            Readiness::Refused(open) => {
                self.breaker.count_refusal();
                Err(open)
            }
            Readiness::Unasked => self.breaker.admit(),
        }
    }
}

impl<S, Request> Service<Request> for BreakerService<S>
where
    S: Service<Request>,
    S::Error: Classify,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // A leave of an earlier state is void: a service below that is not ready must not hide that the breaker opened.
        if !matches!(&self.readiness, Readiness::Admitted(admission) if admission.is_current()) {
            self.readiness = Readiness::Unasked;
            match self.breaker.ask() {
                Ok(admission) => self.readiness = Readiness::Admitted(admission),
                Err(open) => {
                    self.readiness = Readiness::Refused(open);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let ready = ready!(self.service.poll_ready(cx));
        if ready.is_err() {
            self.readiness = Readiness::Unasked;
        }
        Poll::Ready(ready.map_err(CallError::Failed))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.admission() {
            Ok(admission) => BreakerFuture {
                state: State::Called {
                    future: self.service.call(request),
                    admission: Some(admission),
                },
            },
            Err(open) => BreakerFuture {
                state: State::Refused { open: Some(open) },
            },
        }
    }
}

pin_project! {
    /// The answer of a service behind a breaker. Dropped before its end, the call counts as nothing.
    #[must_use]
    pub struct BreakerFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateOf]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            admission: Option<Admission>,
        },
        Refused {
            open: Option<BreakerOpen>,
        },
    }
}

impl<F, T, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Classify,
{
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateOf::Called { future, admission } => {
                let result = ready!(future.poll(cx));
                if let Some(admission) = admission.take() {
                    admission.observe(&result);
                }
                Poll::Ready(result.map_err(CallError::Failed))
            }
            StateOf::Refused { open } => match open.take() {
                Some(open) => Poll::Ready(Err(CallError::Open(open))),
                // Polled after its end, which promises nothing.
                None => Poll::Pending,
            },
        }
    }
}
