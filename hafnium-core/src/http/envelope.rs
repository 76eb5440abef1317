//! What is around every request: its id, its deadline, its turn, the limit of its body, and an answer whatever the
//! handler does.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::body::{Fault, Reading, guarded};
use super::compress::{Encoding, encode, prepare};
use super::connection::Exchange;
use super::gate::{Gate, Pass, Shed};
use super::reload::follow;
use super::request_id::{REQUEST_ID, RequestId};
use super::rules::Rules;
use super::settings::HttpSettings;
use crate::component::BoxFuture;
use crate::context::Context;
use crate::deadline::{Deadline, wire};
use crate::metrics::Counter;
use crate::problem::Problem;

/// What all requests of an envelope share.
pub(super) struct Shared {
    pub(super) rules: ArcSwap<Rules>,
    gate: Arc<Gate>,
    panics: Counter,
    queue_full: Counter,
    queue_time: Counter,
}

/// Wraps `router` in what every request of the application listener needs:
///
/// * an id: the caller's `x-request-id` or a new one, in the request's extensions ([`RequestId`]) and in the answer;
/// * a [`Deadline`] for the handler and everything it calls: `http.request_timeout`, or what the caller says it still
///   waits, whichever is nearer. When it passes, the handler is dropped and the answer is 504. A body that is streamed
///   after the answer began is not limited by it;
/// * a turn: at most `http.max_concurrent_requests` handlers run at a time, a few more wait for up to
///   `http.queue_timeout`, and what is beyond is 503 with `Retry-After`. A body that is streamed after the answer began
///   takes no place;
/// * a body of at most `http.body_limit`, else 413, from a client that is not silent in the middle for longer than
///   `http.body_timeout`, else 408;
/// * a panic in the handler is a 500 and counted in `hafnium.http.panics`;
/// * an answer of more than 1 KiB of text is compressed for who accepts it;
/// * an error status without a body, such as the 404 of an unknown route, gets an `application/problem+json` one.
///
/// Order: request telemetry goes around it (to see the 500, 503, 504 and 413), a user's own layers are inside.
///
/// Keys that can be reloaded are followed where `cx` has a live configuration.
pub fn envelope(router: Router, settings: &HttpSettings, cx: &Context) -> Router {
    let metrics = cx.metrics();
    let shed = metrics.counter(
        "hafnium.http.shed",
        "{request}",
        "Requests refused because too many were under way",
    );
    let shared = Arc::new(Shared {
        rules: ArcSwap::from_pointee(Rules::of(settings)),
        gate: Gate::new(Instant::now()),
        panics: metrics.counter("hafnium.http.panics", "{panic}", "Handlers that panicked"),
        queue_full: shed.with(&[("reason", "queue_full")]),
        queue_time: shed.with(&[("reason", "queue_time")]),
    });
    follow(&shared, cx);
    // The limit is enforced here; axum's own would cut larger configured ones to 2 MB. Both as one layer: a router boxes
    // its routes and their answers anew for each.
    router.layer((EnvelopeLayer { shared }, DefaultBodyLimit::disable()))
}

#[derive(Clone)]
struct EnvelopeLayer {
    shared: Arc<Shared>,
}

impl<S> Layer<S> for EnvelopeLayer {
    type Service = Envelope<S>;

    fn layer(&self, inner: S) -> Envelope<S> {
        Envelope {
            shared: self.shared.clone(),
            inner,
        }
    }
}

/// A route in its envelope. The routes of a router are always ready, so that none is polled for it.
#[derive(Clone)]
struct Envelope<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request> for Envelope<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let waiting = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, waiting);
        let shared = self.shared.clone();
        Box::pin(async move { Ok(shared.answer(request, ready).await) })
    }
}

impl Shared {
    async fn answer<S>(self: Arc<Self>, mut request: Request, inner: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let rules = **self.rules.load();
        let route = request.extensions().get::<MatchedPath>().cloned();
        if let (Some(exchange), Some(route)) = (request.extensions().get::<Arc<Exchange>>(), &route) {
            exchange.set_route(route.clone());
        }
        let route = route.as_ref().map_or("(no route)", MatchedPath::as_str);
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        let one_way = request.version() != Version::HTTP_2;
        let encoding = (rules.compression && request.method() != Method::HEAD)
            .then(|| Encoding::accepted(request.headers()));

        let handled = self.handle(&rules, request, inner, route, &id);
        let mut response = match handled.await {
            Ok(response) => response,
            Err(problem) => {
                let mut response = problem.into_response();
                // What is left of the body on this connection is not worth reading.
                if one_way && response.status() == StatusCode::REQUEST_TIMEOUT {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        if is_bare_error(&response) {
            response = filled(&response);
        }
        if let Some(asked) = encoding
            && let Some(encoding) = prepare(&mut response, asked)
        {
            response = encode(response, encoding).await;
        }
        response.headers_mut().insert(REQUEST_ID, id.value());
        response
    }

    /// The handler's answer, or why it has none that could be sent.
    async fn handle<S>(
        &self,
        rules: &Rules,
        request: Request,
        mut inner: S,
        route: &str,
        id: &RequestId,
    ) -> Result<Response, Problem>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        // Who waits less long than we do is believed; nobody makes us work longer.
        let limit = match wire::time_left(request.headers()) {
            Some(left) => left.min(rules.request_timeout),
            None => rules.request_timeout,
        };
        if limit.is_zero() {
            return Err(late().not_run());
        }
        let deadline = Deadline::after(limit);
        let (request, reading) = guarded(request, rules.body_limit, rules.body_timeout)?;
        let pass = self.turn(rules, deadline).await?;
        let served = id.clone().scope(async { inner.call(request).await });
        let answer = AssertUnwindSafe(deadline.scope(served)).catch_unwind();
        let answered = deadline.bound("the handler", answer).await;
        drop(pass);
        let fault = reading.as_deref().and_then(Reading::fault);
        match answered {
            // What the client did wrong is said by its status, whatever the handler made of the error it got. It may have
            // worked on what came before.
            Ok(Ok(Ok(response))) if is_error(response.status()) => match fault {
                Some(Fault::Silent) => Err(silent()),
                Some(Fault::TooLarge) => Err(Problem::body_too_large(rules.body_limit).unknown()),
                None => Ok(response),
            },
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Err(_)) => {
                self.panics.add(1);
                tracing::error!(route, request_id = id.as_str(), "handler panicked");
                Err(Problem::of(StatusCode::INTERNAL_SERVER_ERROR).code("panic"))
            }
            Err(_) if reading.as_deref().is_some_and(Reading::is_waiting) => Err(silent()),
            Err(exceeded) => {
                tracing::warn!(route, request_id = id.as_str(), waited = ?exceeded.waited, "request timed out");
                Err(late())
            }
        }
    }

    async fn turn(&self, rules: &Rules, deadline: Deadline) -> Result<Pass, Problem> {
        if let Some(pass) = self.gate.pass(rules.room) {
            return Ok(pass);
        }
        let shed = match deadline.bound("its turn", self.gate.queue(rules.room)).await {
            Ok(Ok(pass)) => return Ok(pass),
            Ok(Err(shed)) => shed,
            Err(_) => return Err(late().not_run()),
        };
        match shed {
            Shed::QueueFull => self.queue_full.add(1),
            Shed::WaitedTooLong => self.queue_time.add(1),
        }
        Err(Problem::overloaded(shed.code()).not_run())
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn late() -> Problem {
    Problem::of(StatusCode::GATEWAY_TIMEOUT).code("deadline_exceeded")
}

fn silent() -> Problem {
    Problem::of(StatusCode::REQUEST_TIMEOUT)
        .code("body_timeout")
        .detail("the body did not arrive in time")
        .unknown()
}

fn is_bare_error(response: &Response) -> bool {
    is_error(response.status())
        && response.body().size_hint().exact() == Some(0)
        && !response.headers().contains_key(CONTENT_TYPE)
}

/// A bare error with a body. Its headers say more, such as `Allow` of a 405.
fn filled(bare: &Response) -> Response {
    let mut filled = Problem::of(bare.status()).into_response();
    for (name, value) in bare.headers() {
        if name != CONTENT_LENGTH {
            filled.headers_mut().append(name, value.clone());
        }
    }
    filled
}
