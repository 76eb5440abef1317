//! The bulkhead as a tower layer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::error::BulkheadFull;
use super::handle::Bulkhead;
use super::permit::BulkheadPermit;
use crate::component::BoxFuture;
use crate::resilience::error::CallError;

/// Puts a bulkhead in front of a service. Made by [`Bulkhead::layer`]; every service it makes shares the places.
#[derive(Debug, Clone)]
pub struct BulkheadLayer {
    bulkhead: Bulkhead,
}

impl BulkheadLayer {
    pub(super) fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, service: S) -> BulkheadService<S> {
        BulkheadService {
            bulkhead: self.bulkhead.clone(),
            service,
            readiness: Readiness::Unasked,
        }
    }
}

/// A service behind a bulkhead.
///
/// `poll_ready` waits for a place and then for the service below; the place is held until the call made with it ends, or
/// the service is dropped. Without a place in time the service is ready to refuse (an error of readiness would tell the
/// caller to throw the service away), and the one below is not asked.
pub struct BulkheadService<S> {
    bulkhead: Bulkhead,
    service: S,
    readiness: Readiness,
}

enum Readiness {
    Unasked,
    Waiting(BoxFuture<'static, Result<BulkheadPermit, BulkheadFull>>),
    Admitted(BulkheadPermit),
    Refused(BulkheadFull),
}

/// What was reserved stays with the one that reserved it.
impl<S: Clone> Clone for BulkheadService<S> {
    fn clone(&self) -> Self {
        Self {
            bulkhead: self.bulkhead.clone(),
            service: self.service.clone(),
            readiness: Readiness::Unasked,
        }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for BulkheadService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkheadService")
            .field("bulkhead", &self.bulkhead)
            .field("service", &self.service)
            .finish()
    }
}

impl<S> BulkheadService<S> {
    /// Asks for a place; `Pending` while there is none and the time is not over.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.readiness = match &mut self.readiness {
                Readiness::Admitted(_) => return Poll::Ready(()),
                Readiness::Waiting(waiting) => match ready!(waiting.as_mut().poll(cx)) {
                    Ok(permit) => Readiness::Admitted(permit),
                    Err(full) => {
                        self.readiness = Readiness::Refused(full);
                        return Poll::Ready(());
                    }
                },
                Readiness::Unasked | Readiness::Refused(_) => match self.bulkhead.try_enter() {
                    Some(permit) => Readiness::Admitted(permit),
                    None => {
                        let bulkhead = self.bulkhead.clone();
                        Readiness::Waiting(Box::pin(async move { bulkhead.wait().await }))
                    }
                },
            };
        }
    }
}

impl<S, Request> Service<Request> for BulkheadService<S>
where
    S: Service<Request>,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = BulkheadFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.poll_place(cx));
        if matches!(self.readiness, Readiness::Refused(_)) {
            return Poll::Ready(Ok(()));
        }
        let ready = ready!(self.service.poll_ready(cx));
        if ready.is_err() {
            self.readiness = Readiness::Unasked;
        }
        Poll::Ready(ready.map_err(CallError::Failed))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let permit = match std::mem::replace(&mut self.readiness, Readiness::Unasked) {
            Readiness::Admitted(permit) => Ok(permit),
            Readiness::Refused(full) => Err(full),
            // Called without having been ready: only a place that is free now keeps the limit.
            Readiness::Unasked | Readiness::Waiting(_) => self.bulkhead.enter_now(),
        };
        let state = match permit {
            Ok(permit) => State::Called {
                future: self.service.call(request),
                permit: Some(permit),
            },
            Err(full) => State::Refused { full: Some(full) },
        };
        BulkheadFuture { state }
    }
}

pin_project! {
    /// The answer of a service behind a bulkhead; the place is free when it ends or is dropped.
    #[must_use]
    pub struct BulkheadFuture<F> {
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
            permit: Option<BulkheadPermit>,
        },
        Refused {
            full: Option<BulkheadFull>,
        },
    }
}

impl<F, T, E> Future for BulkheadFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateOf::Called { future, permit } => {
                let result = ready!(future.poll(cx));
                permit.take();
                Poll::Ready(result.map_err(CallError::Failed))
            }
            StateOf::Refused { full } => match full.take() {
                Some(full) => Poll::Ready(Err(CallError::Full(full))),
                // Polled after its end, which promises nothing.
                None => Poll::Pending,
            },
        }
    }
}
