//! Telemetry of the requests of a router: one span, one duration, one log line for each.
//!
//! ```
//! use axum::{Router, routing::get};
//! use hafnium_core::{metrics::Metrics, propagation::Propagation};
//! use hafnium_telemetry::RequestLayer;
//!
//! let layer = RequestLayer::new(&Metrics::noop(), &Propagation::none());
//! let router: Router = Router::new()
//!     .route("/scores/{id}", get(|| async { "0.17" }))
//!     // After the routes it is for, and around layers that answer themselves.
//!     .layer(layer);
//! ```

mod address;
mod body;
mod exchange;
mod headers;
mod instruments;
mod service;

use std::sync::Arc;

use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use tower::Layer;

pub use body::ObservedBody;
pub use headers::inject_headers;
use instruments::Instruments;
pub use service::{ObservedFuture, RequestService};

/// Paths that are probes wherever they are mounted.
const PROBES: [&str; 5] = ["/livez", "/readyz", "/startupz", "/health", "/ready"];

/// Gives every request of a router
///
/// * a span `{METHOD} {route}` with the attributes of the semantic conventions, child of the span that the request's
///   W3C headers name; an answer of 5xx marks it as failed;
/// * `http.server.request.duration` and `http.server.active_requests`;
/// * one line of the target `hafnium::access` when its answer was wholly sent: method, route, status, duration, bytes,
///   peer, request id.
///
/// The route is axum's template, never the path, so labels stay bounded; an unknown method is `_OTHER`. Requests for
/// probes are left out. Add it with [`Router::layer`](axum::Router::layer) after the routes: around a whole router it
/// would not see which route matched. A request that is abandoned before its answer counts as `error.type`
/// `cancelled`.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequestLayer {
    observer: Arc<Observer>,
}

/// What the requests of one layer share.
#[derive(Clone, Debug)]
struct Observer {
    instruments: Arc<Instruments>,
    propagation: Hidden<Propagation>,
    access_log: bool,
    /// Whether anybody gets the traces.
    exported: bool,
    left_out: Vec<String>,
}

/// A value without a useful debug form.
#[derive(Clone)]
struct Hidden<T>(T);

impl<T> std::fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl RequestLayer {
    /// A layer that records in `metrics` and reads the caller's context through `propagation`.
    pub fn new(metrics: &Metrics, propagation: &Propagation) -> Self {
        Self {
            observer: Arc::new(Observer {
                instruments: Arc::new(Instruments::new(metrics)),
                propagation: Hidden(propagation.clone()),
                access_log: true,
                exported: true,
                left_out: PROBES.map(str::to_owned).to_vec(),
            }),
        }
    }

    /// The same layer without access log lines.
    pub fn without_access_log(mut self) -> Self {
        Arc::make_mut(&mut self.observer).access_log = false;
        self
    }

    /// The same layer, which makes nothing that only an exported trace would show. Trace and span ids are made, logged and
    /// handed on all the same.
    pub(crate) fn without_export(mut self) -> Self {
        Arc::make_mut(&mut self.observer).exported = false;
        self
    }

    /// Leaves out `paths` too, such as a probe under a name of one's own. Exact paths, beside the usual probe paths.
    pub fn without_paths<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter().map(Into::into);
        Arc::make_mut(&mut self.observer).left_out.extend(paths);
        self
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> RequestService<S> {
        RequestService::new(inner, self.observer.clone())
    }
}
