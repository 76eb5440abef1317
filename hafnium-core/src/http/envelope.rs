//! What is around every request: its id, its deadline, the limit of its body, and an answer whatever the handler does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};

use super::connection::Exchange;
use super::request_id::{REQUEST_ID, RequestId};
use super::settings::HttpSettings;
use crate::deadline::Deadline;
use crate::metrics::{Counter, Metrics};
use crate::problem::Problem;

/// What is still read of a body that is refused, so that a client that writes first and reads later gets the answer
/// instead of a reset.
const DISCARD: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

struct Rules {
    body_limit: u64,
    request_timeout: Duration,
    panics: Counter,
}

/// Wraps `router` in what every request of the application listener needs:
///
/// * an id: the caller's `x-request-id` or a new one, in the request's extensions ([`RequestId`]) and in the answer;
/// * a [`Deadline`] for the handler and everything it calls; when it passes, the handler is dropped and the answer
///   is 504. A body that is streamed after the answer began is not limited by it;
/// * a body of at most `http.body_limit`, else 413;
/// * a panic in the handler is a 500 and counted in `hafnium.http.panics`;
/// * an error status without a body, such as the 404 of an unknown route, gets an `application/problem+json` one.
///
/// Order: request telemetry goes around it (to see the 500, 504 and 413), a user's own layers are inside.
pub fn envelope(router: Router, settings: &HttpSettings, metrics: &Metrics) -> Router {
    let rules = Arc::new(Rules {
        body_limit: settings.body_limit.bytes(),
        request_timeout: settings.request_timeout.get(),
        panics: metrics.counter("hafnium.http.panics", "{panic}", "Handlers that panicked"),
    });
    // The limit is enforced here; axum's own would cut larger configured ones to 2 MB.
    router
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(rules, wrap))
}

async fn wrap(State(rules): State<Arc<Rules>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(no route)", MatchedPath::as_str);
    if let Some(exchange) = request.extensions().get::<Arc<Exchange>>() {
        exchange.set_route(route);
    }
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());

    let mut response = match limited(request, rules.body_limit) {
        Ok(request) => {
            let deadline = Deadline::after(rules.request_timeout);
            let answer = AssertUnwindSafe(deadline.scope(id.clone().scope(next.run(request)))).catch_unwind();
            match deadline.bound("the handler", answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => {
                    rules.panics.add(1);
                    tracing::error!(route, request_id = id.as_str(), "handler panicked");
                    Problem::of(StatusCode::INTERNAL_SERVER_ERROR)
                        .code("panic")
                        .into_response()
                }
                Err(late) => {
                    tracing::warn!(route, request_id = id.as_str(), waited = ?late.waited, "request timed out");
                    Problem::of(StatusCode::GATEWAY_TIMEOUT)
                        .code("deadline_exceeded")
                        .into_response()
                }
            }
        }
        Err(refused) => refused.into_response(),
    };

    if is_bare_error(&response) {
        let mut filled = Problem::of(response.status()).into_response();
        // The headers of the bare one say more, such as `Allow` of a 405.
        for (name, value) in response.headers() {
            if name != CONTENT_LENGTH {
                filled.headers_mut().append(name, value.clone());
            }
        }
        response = filled;
    }
    response.headers_mut().insert(REQUEST_ID, id.value());
    response
}

fn is_bare_error(response: &Response) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && response.body().size_hint().exact() == Some(0)
        && !response.headers().contains_key(CONTENT_TYPE)
}

/// The request with a body of at most `limit` bytes, or the refusal of one that announces more.
fn limited(request: Request, limit: u64) -> Result<Request, Problem> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        if !request.headers().contains_key(EXPECT) {
            tokio::spawn(discard(request.into_body()));
        }
        return Err(Problem::body_too_large(limit));
    }
    // hyper holds a body to its announced length; only one that announces nothing is to be counted.
    if request
        .body()
        .size_hint()
        .upper()
        .is_some_and(|upper| upper <= limit)
    {
        return Ok(request);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(request.map(|body| Body::new(Limited::new(body, limit))))
}

async fn discard(body: Body) {
    let mut body = Limited::new(body, DISCARD);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}
