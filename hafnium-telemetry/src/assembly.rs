//! How the parts of telemetry are put together, without installing them.

use std::io::Write;

use hafnium_core::ServiceInfo;
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Dispatch;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::environment::Environment;
use crate::error::TelemetryError;
use crate::exposition::Exposition;
use crate::filter::LogFilter;
use crate::layer::{TRACED, TelemetryLayer, is_traced};
use crate::log::{Format, Lines, Output};
use crate::resource::Identity;
use crate::settings::{LogFormat, TelemetrySettings};
use crate::trace::{Ids, W3cPropagator, sampler};

/// The parts of a process's telemetry.
pub(crate) struct Parts {
    pub(crate) metrics: Metrics,
    pub(crate) propagation: Propagation,
    pub(crate) exposition: Exposition,
    pub(crate) filter: LogFilter,
    pub(crate) output: Output,
    /// `None` where nothing is to be recorded.
    pub(crate) meters: Option<SdkMeterProvider>,
    #[cfg(feature = "otlp")]
    pub(crate) spans: Option<crate::trace::SpanQueue>,
    #[cfg(feature = "otlp")]
    pub(crate) metrics_export: Option<crate::otlp::MetricsExport>,
}

impl Parts {
    /// Makes the parts, and the dispatcher through which they are fed. `terminal` is whether `output` is one.
    pub(crate) fn assemble(
        settings: &TelemetrySettings,
        service: &ServiceInfo,
        environment: &Environment,
        output: Box<dyn Write + Send>,
        terminal: bool,
    ) -> Result<(Self, Dispatch), TelemetryError> {
        let identity = Identity::of(service, environment);
        let resource = identity.resource();
        let filter = LogFilter::parse(settings.log_filter.as_deref())?;

        let (exposition, reader) = Exposition::new()?;
        let meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(reader);
        #[cfg(feature = "otlp")]
        let (meters, metrics_export) = crate::otlp::export_metrics(meters, settings, environment)?;
        let meters = (!environment.disabled).then(|| meters.build());
        let metrics = meters.as_ref().map_or_else(Metrics::noop, Metrics::from_provider);

        let dropped = metrics.counter(
            "hafnium.telemetry.dropped",
            "{item}",
            "Telemetry that was dropped instead of delivered: spans, log lines, exports of metrics",
        );
        let of_logs = dropped.with(&[("signal", "logs")]);
        // Present from the start: an alert on a counter that does not exist yet never fires.
        of_logs.add(0);
        let sampler = sampler(settings, environment);
        #[cfg(feature = "otlp")]
        let spans = {
            let of_traces = dropped.with(&[("signal", "traces")]);
            let of_metrics = dropped.with(&[("signal", "metrics")]);
            if let Some(export) = &metrics_export {
                of_metrics.add(0);
                export.count_in(of_metrics);
            }
            crate::otlp::export_spans(settings, environment, &resource, of_traces)?
        };

        let output = Output::start(output, of_logs).map_err(|error| TelemetryError::Setup {
            reason: format!("the log thread can't be started: {error}"),
        })?;
        let format = match settings.log_format {
            LogFormat::Json => Format::json(&identity),
            LogFormat::Human => Format::human(terminal),
            LogFormat::Auto if terminal => Format::human(true),
            LogFormat::Auto => Format::json(&identity),
        };

        let (of_log, filter) = filter.reloadable();
        let lines = Lines::new(format, output.clone());
        #[cfg(feature = "otlp")]
        let exported = spans
            .clone()
            .map(|spans| exported(&resource, sampler.clone(), spans));
        #[cfg(not(feature = "otlp"))]
        let exported: Option<OpenTelemetryLayer<Registry, SdkTracer>> = None;
        let dispatch = match exported {
            Some(exported) => {
                let exported = exported.with_filter(filter_fn(is_traced).with_max_level_hint(TRACED));
                let layer = TelemetryLayer::new(of_log, lines, None);
                Dispatch::new(Registry::default().with(exported).with(layer))
            }
            None => {
                let layer = TelemetryLayer::new(of_log, lines, Some(Ids::new(sampler)));
                Dispatch::new(Registry::default().with(layer))
            }
        };

        let parts = Self {
            metrics,
            propagation: Propagation::new(W3cPropagator::new(environment.propagators)),
            exposition,
            filter,
            output,
            meters,
            #[cfg(feature = "otlp")]
            spans,
            #[cfg(feature = "otlp")]
            metrics_export,
        };
        Ok((parts, dispatch))
    }

    /// Whether anybody gets the spans.
    pub(crate) fn exports_spans(&self) -> bool {
        #[cfg(feature = "otlp")]
        return self.spans.is_some();
        #[cfg(not(feature = "otlp"))]
        false
    }

    /// Ends the export of what is recorded from now on.
    pub(crate) fn close(&self) {
        #[cfg(feature = "otlp")]
        {
            if let Some(spans) = &self.spans {
                spans.close();
            }
            if let Some(export) = &self.metrics_export {
                export.close();
            }
        }
    }
}

/// The layer that hands whole spans to `spans`.
#[cfg(feature = "otlp")]
fn exported(
    resource: &opentelemetry_sdk::Resource,
    sampler: opentelemetry_sdk::trace::Sampler,
    spans: crate::trace::SpanQueue,
) -> OpenTelemetryLayer<Registry, SdkTracer> {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    let tracers = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler)
        .with_span_processor(spans)
        .build();
    tracing_opentelemetry::layer()
        .with_tracer(tracers.tracer("hafnium"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
}
