//! The exporters to a collector: OTLP over http/protobuf with a blocking client, on threads of their own.
//!
//! A client that needs the service's own runtime can't deliver while that runtime's one worker waits for the flush; a
//! blocking client on its own thread delivered within 10 ms in every combination tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanExporter as _;

use crate::delivery::Delivery;
use crate::environment::Environment;
use crate::error::TelemetryError;
use crate::settings::TelemetrySettings;

/// Where spans go: the signal's own variable, else below the endpoint of the settings; `None` where nothing is set.
pub(crate) fn traces_endpoint(settings: &TelemetrySettings, environment: &Environment) -> Option<String> {
    if environment.disabled || environment.no_traces {
        return None;
    }
    let own = environment.traces_endpoint.clone();
    own.or_else(|| below(settings, "v1/traces"))
}

/// Where metrics go.
pub(crate) fn metrics_endpoint(settings: &TelemetrySettings, environment: &Environment) -> Option<String> {
    if environment.disabled || environment.no_metrics {
        return None;
    }
    let own = environment.metrics_endpoint.clone();
    own.or_else(|| below(settings, "v1/metrics"))
}

fn below(settings: &TelemetrySettings, path: &str) -> Option<String> {
    let base = settings.otlp_endpoint.as_deref()?.trim();
    (!base.is_empty()).then(|| format!("{}/{path}", base.trim_end_matches('/')))
}

/// The exporter of spans.
pub(crate) fn spans(endpoint: &str, resource: &Resource) -> Result<SpanExporter, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| refused("traces", &error))?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// The exporter of metrics.
pub(crate) fn metrics(endpoint: &str) -> Result<Metered, TelemetryError> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_temporality(Temporality::Cumulative)
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| refused("metrics", &error))?;
    Ok(Metered {
        exporter,
        delivery: Arc::new(Delivery::new("metrics")),
        closed: Arc::default(),
    })
}

fn refused(signal: &'static str, error: &dyn std::error::Error) -> TelemetryError {
    TelemetryError::Exporter {
        signal,
        reason: error.to_string(),
    }
}

/// An exporter of metrics that counts what fails and can be closed: the SDK exports once more when a provider is
/// dropped, which would hold up the end of the process behind a silent collector.
pub(crate) struct Metered {
    exporter: MetricExporter,
    delivery: Arc<Delivery>,
    closed: Arc<AtomicBool>,
}

impl Metered {
    /// Where failed exports are counted.
    pub(crate) fn delivery(&self) -> Arc<Delivery> {
        self.delivery.clone()
    }

    /// Set it to end all exports.
    pub(crate) fn closed(&self) -> Arc<AtomicBool> {
        self.closed.clone()
    }
}

impl PushMetricExporter for Metered {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.exporter.export(metrics).await;
        self.delivery.note(1, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_endpoint_nothing_is_exported_and_a_signals_own_variable_is_used_as_it_is() {
        let mut settings = TelemetrySettings::default();
        let mut environment = Environment::default();
        assert_eq!(traces_endpoint(&settings, &environment), None);
        settings.otlp_endpoint = Some("http://collector:4318/".to_owned());
        assert_eq!(
            metrics_endpoint(&settings, &environment).as_deref(),
            Some("http://collector:4318/v1/metrics")
        );
        environment.traces_endpoint = Some("http://other:4318/x".to_owned());
        assert_eq!(
            traces_endpoint(&settings, &environment).as_deref(),
            Some("http://other:4318/x")
        );
        environment.no_metrics = true;
        assert_eq!(metrics_endpoint(&settings, &environment), None);
        environment.disabled = true;
        assert_eq!(traces_endpoint(&settings, &environment), None);
    }
}
