//! The operator listener: probes, report, metrics, the status page. Up before the first component, closed last.
//!
//! Everything is answered from memory, so that it answers in any state of the dependencies. Its requests are not part of
//! request telemetry.
//!
//! | path | answers | who may |
//! |---|---|---|
//! | `/livez` `/readyz` `/startupz` | the probes, each with `/<check>` | anyone who reaches the listener |
//! | `/` | the status page | the same |
//! | `/report` `/topology` `/info` `/metrics` | checks, dependencies, build, metrics | the same |
//! | `/config` | every effective value with its origin, secrets as `***` | the same host, or the holder of `admin.token` |
//! | `/loglevel` | GET, PUT, DELETE: the log filter, changed for a while | the same |

mod access;
mod answer;
mod build;
mod clock;
mod config;
mod endpoints;
mod loglevel;
mod operator;
mod page;
mod probes;
mod settings;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use tokio::time::Instant;

pub use build::BuildInfo;
pub use loglevel::LogFilter;
pub use operator::Operator;
pub use probes::Probes;
pub use settings::AdminSettings;

use self::access::Access;
use crate::component::StartError;
use crate::context::Context;
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
    cx: Context,
    probes: Probes,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    access: Access,
    log_filter: Option<Arc<dyn LogFilter>>,
    build: Arc<BuildInfo>,
    begun: Instant,
    started: SystemTime,
}

impl Admin {
    /// The endpoints of the service of `cx`; `metrics` renders the Prometheus text format 0.0.4.
    pub fn new(cx: &Context, probes: Probes, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            cx: cx.clone(),
            probes,
            metrics: Arc::new(metrics),
            access: Access::default(),
            log_filter: None,
            build: Arc::default(),
            begun: Instant::now(),
            started: SystemTime::now(),
        }
    }

    /// With the token of `settings`, which lets callers of other hosts see and change what is sensitive, and whether those
    /// on this host need it too.
    pub fn settings(mut self, settings: &AdminSettings) -> Self {
        self.access = Access::new(settings);
        self
    }

    /// With `/loglevel`, which changes `filter`.
    pub fn log_filter(mut self, filter: impl LogFilter) -> Self {
        self.log_filter = Some(Arc::new(filter));
        self
    }

    /// With how the program was built, for `/info` and the page.
    pub fn build(mut self, build: BuildInfo) -> Self {
        self.build = Arc::new(build);
        self
    }

    /// When the process began to answer, as text.
    fn started(&self) -> String {
        clock::rfc3339(self.started)
    }

    /// The router of all endpoints; more can be merged into it. What is sensitive is guarded by the address of the
    /// caller, which [`Admin::serve`] gives to the router.
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
