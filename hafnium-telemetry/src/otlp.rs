//! The exporters to a collector: OTLP over http/protobuf with a blocking client, on threads of their own.
//!
//! A client that needs the service's own runtime can't deliver while that runtime's one worker waits for the flush; a
//! blocking client on its own thread delivered within 10 ms in every combination tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::metrics::Counter;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, Temporality};
use opentelemetry_sdk::trace::SpanExporter as _;

use crate::delivery::Delivery;
use crate::environment::Environment;
use crate::error::TelemetryError;
use crate::settings::TelemetrySettings;
use crate::trace::SpanQueue;

/// Where spans go: the signal's own variable, else below the endpoint of the settings; `None` where nothing is set.
fn traces_endpoint(settings: &TelemetrySettings, environment: &Environment) -> Option<String> {
    if environment.disabled || environment.no_traces {
        return None;
    }
    let own = environment.traces_endpoint.clone();
    own.or_else(|| below(settings, "v1/traces"))
}

/// Where metrics go.
fn metrics_endpoint(settings: &TelemetrySettings, environment: &Environment) -> Option<String> {
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

/// Begins the export of spans, where an endpoint is set.
pub(crate) fn export_spans(
    settings: &TelemetrySettings,
    environment: &Environment,
    resource: &Resource,
    dropped: Counter,
) -> Result<Option<SpanQueue>, TelemetryError> {
    let Some(endpoint) = traces_endpoint(settings, environment) else {
        return Ok(None);
    };
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| refused("traces", &error))?;
    exporter.set_resource(resource);
    let interval = settings.span_interval.get();
    let queue = SpanQueue::start(exporter, settings.span_queue, interval, dropped).map_err(|error| {
        TelemetryError::Setup {
            reason: format!("the span thread can't be started: {error}"),
        }
    })?;
    Ok(Some(queue))
}

/// Adds the export of metrics to `meters`, where an endpoint is set.
pub(crate) fn export_metrics(
    meters: MeterProviderBuilder,
    settings: &TelemetrySettings,
    environment: &Environment,
) -> Result<(MeterProviderBuilder, Option<MetricsExport>), TelemetryError> {
    let Some(endpoint) = metrics_endpoint(settings, environment) else {
        return Ok((meters, None));
    };
    let exporter = MetricExporter::builder()
        .with_http()
        .with_temporality(Temporality::Cumulative)
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| refused("metrics", &error))?;
    let export = MetricsExport {
        delivery: Arc::new(Delivery::new("metrics")),
        closed: Arc::default(),
    };
    let exporter = Metered {
        exporter,
        export: export.clone(),
    };
    let reader = PeriodicReader::builder(exporter)
        .with_interval(settings.metric_interval.get())
        .build();
    Ok((meters.with_reader(reader), Some(export)))
}

fn refused(signal: &'static str, error: &dyn std::error::Error) -> TelemetryError {
    TelemetryError::Exporter {
        signal,
        reason: error.to_string(),
    }
}

/// The export of metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MetricsExport {
    delivery: Arc<Delivery>,
    closed: Arc<AtomicBool>,
}

impl MetricsExport {
    /// Counts failed exports in `dropped`.
    pub(crate) fn count_in(&self, dropped: Counter) {
        self.delivery.count_in(dropped);
    }

    /// Ends it. The SDK exports once more when a provider is dropped, which would hold up the end of the process
    /// behind a silent collector.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

struct Metered {
    exporter: MetricExporter,
    export: MetricsExport,
}

impl PushMetricExporter for Metered {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        if self.export.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.exporter.export(metrics).await;
        self.export.delivery.note(1, &result);
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
