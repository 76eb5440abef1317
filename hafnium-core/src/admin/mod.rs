//! The operator listener: probes, report, metrics. Up before the first component, closed last.
//!
//! Everything is answered from memory, so that it answers in any state of the dependencies. Its requests are not part of
//! request telemetry.

mod answer;
mod endpoints;
mod operator;
mod probes;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::time::Instant;

pub use operator::Operator;
pub use probes::Probes;
pub use settings::AdminSettings;

use crate::component::StartError;
use crate::context::{Context, ServiceInfo};
use crate::http::{Bound, Limits, Server, Serving};

/// The limits of the operator listener are not configurable: its clients are a kubelet, a scraper and a person.
const LIMITS: Limits = Limits {
    header: Duration::from_secs(5),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};
const MAX_CONNECTIONS: u32 = 256;

/// What the operator listener answers from. Cheap to clone.
#[derive(Clone)]
#[must_use]
pub struct Admin {
    service: Arc<ServiceInfo>,
    probes: Probes,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    begun: Instant,
}

impl Admin {
    /// The endpoints of the service of `cx`; `metrics` renders the Prometheus text format 0.0.4.
    pub fn new(cx: &Context, probes: Probes, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            service: Arc::new(cx.service().clone()),
            probes,
            metrics: Arc::new(metrics),
            begun: Instant::now(),
        }
    }

    /// The router of `/livez`, `/readyz`, `/startupz`, `/report`, `/info` and `/metrics`; more can be merged into it.
    pub fn router(&self) -> Router {
        endpoints::router(self.clone())
    }

    /// Serves `router`, usually [`Admin::router`], on `bound`.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when the address was taken since it was claimed.
    pub fn serve(bound: Bound, router: Router, cx: &Context) -> Result<Server, StartError> {
        let serving = Serving::plain(LIMITS, MAX_CONNECTIONS);
        Server::start(bound, router, serving, cx.lifecycle(), None)
    }
}
