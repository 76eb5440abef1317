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
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = ObservedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let exchange = Exchange::begin(&self.observer, &request);
        let entered = exchange.as_ref().map(|exchange| exchange.span().enter());
        let future = self.inner.call(request);
        drop(entered);
        ObservedFuture { future, exchange }
    }
}

pin_project! {
    /// The future of a request's answer, within the request's span.
    pub struct ObservedFuture<F> {
        #[pin]
        future: F,
        exchange: Option<Exchange>,
    }
}

impl<F> std::fmt::Debug for ObservedFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObservedFuture")
    }
}

impl<F, R, E> Future for ObservedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: http_body::Body,
{
    type Output = Result<Response<ObservedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let _entered = this.exchange.as_ref().map(|exchange| exchange.span().enter());
            this.future.poll(cx)
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
