//! The service of the request layer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::Observer;
use super::body::ObservedBody;
use super::exchange::Exchange;

/// The service of a [`RequestLayer`](super::RequestLayer).
#[derive(Clone, Debug)]
pub struct RequestService<S> {
    inner: S,
    observer: Arc<Observer>,
}

impl<S> RequestService<S> {
    pub(super) fn new(inner: S, observer: Arc<Observer>) -> Self {
        Self { inner, observer }
    }
}

impl<S, B, R> Service<Request<B>> for RequestService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: http_body::Body,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = ObservedFuture<S, Request<B>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let exchange = Exchange::begin(&self.observer, &request);
        let next = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, next);
        let step = Step::Asking {
            asked: Some((service, request)),
        };
        ObservedFuture { step, exchange }
    }
}

pin_project! {
    /// The future of a request's answer, within the request's span: also what the service does before its own future is
    /// polled, so that the span is entered once where a handler waits for nothing.
    pub struct ObservedFuture<S, T, F> {
        #[pin]
        step: Step<S, T, F>,
        exchange: Option<Exchange>,
    }
}

pin_project! {
    #[project = StepOf]
    enum Step<S, T, F> {
        Asking { asked: Option<(S, T)> },
        Answering {
            #[pin]
            future: F,
        },
    }
}

impl<S, T, F> std::fmt::Debug for ObservedFuture<S, T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObservedFuture")
    }
}

impl<S, B, R> Future for ObservedFuture<S, Request<B>, S::Future>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body,
{
    type Output = Result<Response<ObservedBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = {
            let _entered = this.exchange.as_ref().map(|exchange| exchange.span().enter());
            if let StepOf::Asking { asked } = this.step.as_mut().project()
                && let Some((mut service, request)) = asked.take()
            {
                let future = service.call(request);
                this.step.set(Step::Answering { future });
            }
            match this.step.as_mut().project() {
                StepOf::Answering { future } => future.poll(cx),
                StepOf::Asking { .. } => Poll::Pending,
            }
        };
        let result = ready!(polled);
        let mut exchange = this.exchange.take();
        if let Some(exchange) = &mut exchange {
            match &result {
                Ok(response) => exchange.answered(response),
                Err(_) => exchange.failed(),
            }
        }
        Poll::Ready(result.map(|response| response.map(|body| ObservedBody::new(body, exchange))))
    }
}
