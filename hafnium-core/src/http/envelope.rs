//! What is around every request: its id, its deadline, its turn, the limit of its body, and an answer whatever the
//! handler does.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::Response;
use axum::routing::Route;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::answering::{Answering, Outline, Running, late};
use super::body::guarded;
use super::gate::{Gate, Gated, Pass, Shed};
use super::reload::follow;
use super::rules::Rules;
use super::settings::HttpSettings;
use crate::context::Context;
use crate::deadline::{Deadline, wire};
use crate::metrics::Counter;
use crate::problem::Problem;

/// What all requests of an envelope share.
pub(super) struct Shared {
    pub(super) rules: ArcSwap<Rules>,
    gate: Gate,
    pub(super) panics: Counter,
    queue_full: Counter,
    queue_time: Counter,
}

/// Wraps `router` in what every request of the application listener needs:
///
/// * an id: the caller's `x-request-id` or a new one, in the request's extensions ([`RequestId`](super::RequestId)) and in the answer;
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
    router.layer(EnvelopeLayer::new(settings, cx))
}

/// [`envelope`] as a layer, to be put around a router as one with what goes around it: a router boxes its routes and
/// their answers anew for each [`Router::layer`].
///
/// ```
/// use axum::{Router, routing::get};
/// use hafnium_core::Context;
/// use hafnium_core::http::{EnvelopeLayer, HttpSettings};
/// use tower::layer::util::Identity;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let envelope = EnvelopeLayer::new(&HttpSettings::default(), &Context::standalone());
/// // Instead of `Identity`, the layer of request telemetry: the first one is outermost.
/// let router: Router = Router::new().route("/", get(async || "hello")).layer((Identity::new(), envelope));
/// # });
/// ```
#[derive(Clone)]
pub struct EnvelopeLayer {
    shared: Arc<Shared>,
}

impl EnvelopeLayer {
    /// What every request of the application listener needs, by `settings`. See [`envelope`].
    #[must_use]
    pub fn new(settings: &HttpSettings, cx: &Context) -> Self {
        Self {
            shared: Shared::new(settings, cx),
        }
    }
}

impl std::fmt::Debug for EnvelopeLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnvelopeLayer")
    }
}

impl Layer<Route> for EnvelopeLayer {
    type Service = Envelope;

    fn layer(&self, route: Route) -> Envelope {
        Envelope {
            shared: self.shared.clone(),
            route,
        }
    }
}

/// A route in its envelope.
#[derive(Clone)]
pub struct Envelope {
    shared: Arc<Shared>,
    route: Route,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Envelope")
    }
}

impl Service<Request> for Envelope {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    /// Routes are always ready.
    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing of the route's own runs in here: a route only does something when its future is polled.
    fn call(&mut self, mut request: Request) -> Answering {
        let rules = **self.shared.rules.load();
        let outline = Outline::of(&mut request, &rules);
        // Who waits less long than we do is believed; nobody makes us work longer.
        let limit = match wire::time_left(request.headers()) {
            Some(left) => left.min(rules.request_timeout),
            None => rules.request_timeout,
        };
        if limit.is_zero() {
            return Answering::refused(outline, late().not_run());
        }
        let deadline = Deadline::after(limit);
        let (mut request, reading) = match guarded(request, rules.body_limit, rules.body_timeout) {
            Ok(guarded) => guarded,
            Err(problem) => return Answering::refused(outline, problem),
        };
        if reading.is_some() {
            // The limit is enforced here; axum's own would cut larger configured ones to 2 MB.
            DefaultBodyLimit::disable().apply(&mut request);
        }
        let id = outline.id().clone();
        match Gate::pass(self.shared.clone(), rules.room) {
            Ok(pass) => {
                let answer = self.route.call(request);
                Answering::running(outline, Running::new(answer, id, deadline, pass, reading))
            }
            Err(shared) => {
                let mut route = self.route.clone();
                let turn = async move {
                    let pass = shared.turn(&rules, deadline).await?;
                    Ok(Running::new(route.call(request), id, deadline, pass, reading))
                };
                Answering::queued(outline, Box::pin(turn))
            }
        }
    }
}

impl Gated for Arc<Shared> {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Shared {
    fn new(settings: &HttpSettings, cx: &Context) -> Arc<Self> {
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
        shared
    }

    /// Waits for a place among those that run.
    async fn turn(self: Arc<Self>, rules: &Rules, deadline: Deadline) -> Result<Pass<Arc<Self>>, Problem> {
        let queued = Gate::queue(self.clone(), rules.room);
        let shed = match deadline.bound("its turn", queued).await {
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
