//! The retry policy as a tower layer.
//!
//! Not tower's own `Retry`: its policy is only lent the error, and ours may have to give an earlier one back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::policy::RetryPolicy;
use super::session::{RetrySession, Step};
use crate::classify::Classify;

/// Repeats the failed calls of a service. Made by [`RetryPolicy::layer`].
#[derive(Debug, Clone)]
pub struct RetryLayer {
    policy: RetryPolicy,
}

impl RetryLayer {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, service: S) -> Retry<S> {
        Retry {
            policy: self.policy.clone(),
            service,
        }
    }
}

/// A service whose failed calls are repeated.
///
/// It is ready when the service below is. The first attempt uses that readiness, each further one waits for a new one
/// after its pause; an error of readiness ends the call as it is, unless an earlier one is of unknown outcome.
#[derive(Debug, Clone)]
pub struct Retry<S> {
    policy: RetryPolicy,
    service: S,
}

impl<S, Request> Service<Request> for Retry<S>
where
    S: Service<Request> + Clone,
    S::Error: Classify,
    Request: Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Request>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let future = self.service.call(request.clone());
        RetryFuture {
            session: self.policy.session(),
            service: self.service.clone(),
            request,
            state: State::Called { future },
        }
    }
}

pin_project! {
    /// The answer of a [`Retry`] service. Dropped, it drops the attempt under way.
    #[must_use]
    pub struct RetryFuture<S, Request>
    where
        S: Service<Request>,
    {
        session: RetrySession<S::Error>,
        service: S,
        request: Request,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateOf]
    enum State<F> {
        Called { #[pin] future: F },
        Pausing { #[pin] pause: Sleep },
        GettingReady,
    }
}

impl<S, Request> Future for RetryFuture<S, Request>
where
    S: Service<Request>,
    S::Error: Classify,
    Request: Clone,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateOf::Called { future } => match ready!(future.poll(cx)) {
                    Ok(response) => {
                        this.session.succeeded();
                        return Poll::Ready(Ok(response));
                    }
                    Err(error) => match this.session.failed(error) {
                        Step::RetryAfter(pause) => State::Pausing {
                            pause: tokio::time::sleep(pause),
                        },
                        Step::GiveUp(error) => return Poll::Ready(Err(error)),
                    },
                },
                StateOf::Pausing { pause } => {
                    ready!(pause.poll(cx));
                    State::GettingReady
                }
                StateOf::GettingReady => {
                    if let Err(error) = ready!(this.service.poll_ready(cx)) {
                        return Poll::Ready(Err(this.session.ended(error)));
                    }
                    State::Called {
                        future: this.service.call(this.request.clone()),
                    }
                }
            };
            this.state.set(next);
        }
    }
}
