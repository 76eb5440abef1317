//! The text that Prometheus scrapes: the instruments of the process, and the process itself.

mod process;

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Registry, TextEncoder};

use crate::error::TelemetryError;
use process::Process;

/// The media type of [`Telemetry::render_prometheus`](crate::Telemetry::render_prometheus).
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is rendered at `/metrics`.
#[derive(Debug)]
pub(crate) struct Exposition {
    registry: Registry,
    process: Process,
}

impl Exposition {
    /// An exposition and the reader through which the meter provider feeds it.
    pub(crate) fn new() -> Result<(Self, PrometheusExporter), TelemetryError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // Every instrument comes from one scope, so its labels would say nothing.
            .scope_info_enabled(false)
            .build()
            .map_err(|error| TelemetryError::Setup {
                reason: format!("the metrics reader can't be made: {error}"),
            })?;
        let exposition = Self {
            registry,
            process: Process::new(),
        };
        Ok((exposition, reader))
    }

    /// The text, in format 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "some metrics can't be rendered");
        }
        self.process.render(&mut text);
        text
    }
}
