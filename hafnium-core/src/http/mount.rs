//! `/health` and `/ready` on the application listener, for load balancers that see nothing else.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::{Ready, ready};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use tower::{Layer, Service, ServiceExt};

use crate::admin::Probes;

/// Adds `/health` and `/ready`, or what [`ProbePaths`](crate::health::ProbePaths) names instead, to `router`. A path that the router has itself is kept, and a log line says so.
///
/// `/ready` is `readyz`. `/health` never looks at a dependency, and fails from the first moment of the drain: a load
/// balancer must see the process leave. Both say nothing but `ok` or `unavailable`; details are for the operator
/// listener. Call it last, so that the request telemetry leaves them out.
pub fn mount_probes(router: Router, probes: &Probes) -> Router {
    let paths = probes.paths();
    let mut router = router;
    for path in &paths.application_health {
        router = mount(router, path, probes, Probes::is_serving);
    }
    for path in &paths.application_ready {
        router = mount(router, path, probes, Probes::is_ready);
    }
    router
}

fn mount(router: Router, path: &str, probes: &Probes, ask: fn(&Probes) -> bool) -> Router {
    if has_route(&router, path) {
        tracing::info!(
            path,
            "the service has a route of its own here, so the built-in probe is only on the operator listener"
        );
        return router;
    }
    let probes = probes.clone();
    router.route(path, get(move || std::future::ready(respond(ask(&probes)))))
}

fn respond(well: bool) -> Response {
    let answer = if well {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable\n")
    };
    let mut response = answer.into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether `router` has a route that is literally `path`. axum has no way to ask, and panics on a second one.
///
/// A copy of the router is asked, in which every route answers with its own template and nothing of the user's runs.
fn has_route(router: &Router, path: &str) -> bool {
    if !router.has_routes() {
        return false;
    }
    let asked: Router = router
        .clone()
        .fallback(|| async { StatusCode::NOT_FOUND })
        .route_layer(TemplateLayer);
    let Ok(request) = Request::builder().uri(path).body(Body::empty()) else {
        return false;
    };
    // Every service of the copy is ready at once.
    match asked.oneshot(request).now_or_never() {
        Some(Ok(response)) => response
            .extensions()
            .get::<Template>()
            .is_some_and(|template| template.0.as_str() == path),
        _ => false,
    }
}

#[derive(Clone)]
struct Template(MatchedPath);

#[derive(Clone)]
struct TemplateLayer;

impl<S> Layer<S> for TemplateLayer {
    type Service = TellTemplate;

    fn layer(&self, _: S) -> TellTemplate {
        TellTemplate
    }
}

#[derive(Clone)]
struct TellTemplate;

impl Service<Request> for TellTemplate {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut response = StatusCode::OK.into_response();
        if let Some(path) = request.extensions().get::<MatchedPath>() {
            response.extensions_mut().insert(Template(path.clone()));
        }
        ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{any, post};

    use super::*;

    fn unreachable_by_asking() -> StatusCode {
        panic!("no code of the user's may run")
    }

    #[test]
    fn only_a_literal_route_of_any_method_counts_as_the_users_own() {
        assert!(!has_route(&Router::new(), "/health"));
        assert!(has_route(
            &Router::new().route("/health", get(|| async {})),
            "/health"
        ));
        assert!(has_route(
            &Router::new().route("/health", post(|| async {})),
            "/health"
        ));
        let nested = Router::new().nest("/api", Router::new().route("/health", get(|| async {})));
        assert!(!has_route(&nested, "/health"));
        let wild = Router::new().route("/{*rest}", any(|| async {}));
        assert!(!has_route(&wild, "/health"));
        let fallback = Router::new()
            .route("/other", get(|| async {}))
            .fallback(|| async { unreachable_by_asking() });
        assert!(!has_route(&fallback, "/health"));
    }
}
