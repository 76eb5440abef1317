//! What every component is given. Passed, never global.

use std::sync::Arc;

use crate::config::{Config, Live};
use crate::health::Registry;
use crate::lifecycle::{State, Watch};
use crate::metrics::Metrics;
use crate::propagation::Propagation;
use crate::resilience::Breakers;
use crate::secret::Secrets;
use crate::tasks::Tasks;
use crate::topology::Topology;

/// Who this process is; also the resource of its telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// The service's name, such as `risk-engine`.
    pub name: String,
    /// The service's version, usually `CARGO_PKG_VERSION`.
    pub version: String,
    /// What tells this process from its replicas, such as the pod's name.
    pub instance: String,
    /// The commit it was built from, if the build said so.
    pub commit: Option<String>,
    /// Further attributes of its telemetry, such as the environment and the region.
    pub attributes: Vec<(&'static str, String)>,
}

impl ServiceInfo {
    /// A service of that name and version; the instance is the host name and process id.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
        let instance = match host {
            Ok(host) => format!("{host}-{}", std::process::id()),
            Err(_) => std::process::id().to_string(),
        };
        Self {
            name: name.into(),
            version: version.into(),
            instance,
            commit: None,
            attributes: Vec::new(),
        }
    }

    /// With further attributes of its telemetry (see [`Config::attributes`]).
    #[must_use]
    pub fn with_attributes(mut self, attributes: Vec<(&'static str, String)>) -> Self {
        self.attributes = attributes;
        self
    }
}

/// The handles a component works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    service: Arc<ServiceInfo>,
    health: Registry,
    metrics: Metrics,
    propagation: Propagation,
    tasks: Tasks,
    lifecycle: Watch,
    config: Live,
    secrets: Secrets,
    topology: Topology,
    breakers: Breakers,
}

impl Context {
    /// A context of a running service.
    pub fn new(
        service: ServiceInfo,
        health: Registry,
        metrics: Metrics,
        propagation: Propagation,
        tasks: Tasks,
        lifecycle: Watch,
    ) -> Self {
        tasks.observe(&health, &metrics);
        let config = Live::new(Config::empty(&service.name));
        Self {
            service: Arc::new(service),
            breakers: Breakers::new(&health, &metrics),
            health,
            metrics,
            propagation,
            tasks,
            lifecycle,
            config,
            secrets: Secrets::none(),
            topology: Topology::new(),
        }
    }

    /// With the configuration in force; without this it is empty.
    #[must_use]
    pub fn with_config(mut self, config: Live) -> Self {
        self.config = config;
        self
    }

    /// A context without a service around it: for use of one crate under a `#[tokio::main]` of the user's own.
    ///
    /// Health checks can be registered and asked, metrics go nowhere, the lifecycle is for ever ready.
    pub fn standalone() -> Self {
        Self::new(
            ServiceInfo::new("standalone", "0"),
            Registry::new(),
            Metrics::noop(),
            Propagation::none(),
            Tasks::new(),
            Watch::fixed(State::Ready),
        )
    }

    /// The same context with the store of the service's secrets; by default there are none.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// The store that keeps the service's secrets up to date.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Who this process is.
    pub fn service(&self) -> &ServiceInfo {
        &self.service
    }

    /// Where health checks are registered.
    pub fn health(&self) -> &Registry {
        &self.health
    }

    /// Where instruments are made.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How trace context crosses process borders.
    pub fn propagation(&self) -> &Propagation {
        &self.propagation
    }

    /// The breakers of this process, by name.
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Where named background tasks run.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The configuration in force. A component that follows its settings watches it.
    pub fn config(&self) -> &Live {
        &self.config
    }

    /// In what state the service is.
    pub fn lifecycle(&self) -> &Watch {
        &self.lifecycle
    }

    /// Where a client says what it sees of its dependency.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }
}
