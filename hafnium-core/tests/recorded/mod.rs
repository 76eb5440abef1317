//! Instruments whose series a test can look at, as a scraper gets them.
#![allow(clippy::unwrap_used, reason = "test code")]

use hafnium_core::metrics::Metrics;
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

    /// The value of the series `name` with `label`, as text.
    pub(crate) fn value(&self, name: &str, label: &str) -> Option<String> {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let found = text
            .lines()
            .find(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label));
        found.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    }
}
