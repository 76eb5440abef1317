//! Instruments whose series a test can look at, as a scraper gets them.
#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every suite uses all of it")]

use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, ServiceInfo};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::TextEncoder;

pub(crate) struct Recorded {
    registry: prometheus::Registry,
    pub(crate) metrics: Metrics,
    _provider: SdkMeterProvider,
}

impl Recorded {
    pub(crate) fn new() -> Self {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .unwrap();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let metrics = Metrics::from_provider(&provider);
        Self {
            registry,
            metrics,
            _provider: provider,
        }
    }

    /// A ready service that records here.
    pub(crate) fn context(&self) -> Context {
        Context::new(
            ServiceInfo::new("recorded", "1"),
            Registry::new(),
            self.metrics.clone(),
            Propagation::none(),
            Tasks::new(),
            Watch::fixed(State::Ready),
        )
    }

    /// The value of the series `name` with `label`, as text.
    pub(crate) fn value(&self, name: &str, label: &str) -> Option<String> {
        self.value_with(name, &[label])
    }

    /// The value of the first series `name` that has all `labels`, as text.
    pub(crate) fn value_with(&self, name: &str, labels: &[&str]) -> Option<String> {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let found = text.lines().find(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        found.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    }
}
