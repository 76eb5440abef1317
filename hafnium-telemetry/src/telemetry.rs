//! The telemetry of one process: installed once, handed to everyone, flushed at the end.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
#[cfg(feature = "otlp")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::{Deadline, ServiceInfo, Stopped};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::environment::Environment;
use crate::error::TelemetryError;
use crate::exposition::Exposition;
use crate::filter::LogFilter;
use crate::flush::{Work, in_parallel};
use crate::log::{Format, LogLayer, Output};
use crate::panic;
use crate::request::RequestLayer;
use crate::resource::Identity;
use crate::settings::{LogFormat, TelemetrySettings};
use crate::trace::{W3cPropagator, sampler};

/// What the last lines get at the end of a process that did not call [`Telemetry::shutdown`].
const LAST_LINES: Duration = Duration::from_millis(500);

/// The telemetry of this process. Cheap to clone.
///
/// Keep one until the end of `main`: when the last one is dropped, the log lines that wait are written. Spans and
/// metrics that wait are delivered by [`shutdown`](Self::shutdown) only.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: Metrics,
    propagation: Propagation,
    exposition: Exposition,
    filter: LogFilter,
    output: Output,
    access_log: bool,
    meters: Option<SdkMeterProvider>,
    #[cfg(feature = "otlp")]
    spans: Option<crate::trace::SpanQueue>,
    #[cfg(feature = "otlp")]
    metrics_closed: Option<Arc<AtomicBool>>,
}

impl Telemetry {
    /// Makes this the telemetry of the process: the tracing subscriber, a panic hook in front of the present one, and
    /// standard output for log lines. Nothing else in Hafnium touches process-wide state.
    ///
    /// It may be called inside or outside of a runtime; its threads are its own.
    ///
    /// # Errors
    /// [`TelemetryError::AlreadyInstalled`] on a second call and when the process has a subscriber already; the other
    /// variants when a setting or an `OTEL_*` variable can't be honoured. Nothing is changed then.
    pub fn install(settings: &TelemetrySettings, service: &ServiceInfo) -> Result<Self, TelemetryError> {
        if tracing::dispatcher::has_been_set() {
            return Err(TelemetryError::AlreadyInstalled);
        }
        let environment = Environment::of_process()?;
        let terminal = io::stdout().is_terminal();
        let parts = Parts::new(settings, service, &environment, Box::new(io::stdout()), terminal)?;
        tracing::dispatcher::set_global_default(parts.dispatch)
            .map_err(|_| TelemetryError::AlreadyInstalled)?;
        panic::install(parts.telemetry.shared.output.clone());
        report(settings, &environment);
        Ok(parts.telemetry)
    }

    /// The same without touching anything process-wide, and with `output` instead of standard output: for tests, and
    /// for programs that install their own subscriber. `OTEL_*` variables are not looked at.
    ///
    /// Lines and spans are those of code that runs under the returned dispatcher
    /// (`tracing::dispatcher::with_default`).
    ///
    /// # Errors
    /// As [`install`](Self::install), but never [`TelemetryError::AlreadyInstalled`].
    pub fn detached(
        settings: &TelemetrySettings,
        service: &ServiceInfo,
        output: impl Write + Send + 'static,
    ) -> Result<(Self, Dispatch), TelemetryError> {
        let environment = Environment::default();
        let parts = Parts::new(settings, service, &environment, Box::new(output), false)?;
        Ok((parts.telemetry, parts.dispatch))
    }

    /// Where instruments are made.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    /// How trace context crosses process borders: W3C `traceparent`, `tracestate` and `baggage`.
    pub fn propagation(&self) -> Propagation {
        self.shared.propagation.clone()
    }

    /// The layer that gives every request of a router its span, its metrics and its access log line.
    pub fn request_layer(&self) -> RequestLayer {
        let layer = RequestLayer::new(&self.shared.metrics, &self.shared.propagation);
        if self.shared.access_log {
            layer
        } else {
            layer.without_access_log()
        }
    }

    /// All metrics in the Prometheus text format 0.0.4 ([`PROMETHEUS_TEXT`](crate::PROMETHEUS_TEXT)). It works until
    /// the end, also after [`shutdown`](Self::shutdown). It reads a few files of `/proc` and never waits for a peer.
    pub fn render_prometheus(&self) -> String {
        self.shared.exposition.render()
    }

    /// The present log filter.
    pub fn log_filter(&self) -> String {
        self.shared.filter.current()
    }

    /// Logs by `filter` from now on; returns the filter that was in force.
    ///
    /// # Errors
    /// [`TelemetryError::LogFilter`] when it can't be read; the present one stays in force.
    pub fn set_log_filter(&self, filter: &str) -> Result<String, TelemetryError> {
        self.shared.filter.set(filter)
    }

    /// Delivers what was recorded before: spans and metrics to the collector, lines to standard output, all at the
    /// same time on threads of their own. Returns at `deadline` at the latest and names what was not delivered by then
    /// (`traces`, `metrics`, `logs`).
    ///
    /// It may be awaited in a task of any runtime that has a timer, also of one with a single thread.
    ///
    /// Cancel-safe: what was begun goes on.
    pub async fn flush(&self, deadline: Deadline) -> Stopped {
        in_parallel(self.work(), deadline).await
    }

    /// [Flushes](Self::flush) for the last time and ends the export. From then on log lines are written by the thread
    /// that logs them, so that the lines of the very end are not lost; spans that end later are dropped and counted.
    ///
    /// Cancel-safe; a shutdown that was abandoned leaves the export running.
    pub async fn shutdown(&self, deadline: Deadline) -> Stopped {
        let stopped = in_parallel(self.work(), deadline).await;
        self.shared.close();
        let late = stopped.stragglers();
        // A standard output that takes nothing would hold up whoever logs last.
        if !late.iter().any(|signal| signal == "logs") {
            self.shared.output.write_directly();
        }
        if !late.is_empty() {
            tracing::warn!(signals = ?late, "telemetry was not wholly delivered by the deadline");
        }
        stopped
    }

    fn work(&self) -> Vec<(&'static str, Work)> {
        let mut work: Vec<(&'static str, Work)> = Vec::new();
        #[cfg(feature = "otlp")]
        if let Some(spans) = self.shared.spans.clone() {
            work.push(("traces", Box::new(move || spans.flush())));
        }
        if let Some(meters) = self.shared.meters.clone() {
            work.push(("metrics", Box::new(move || meters.force_flush().is_ok())));
        }
        let output = self.shared.output.clone();
        // Longer than any deadline that is waited for.
        work.push(("logs", Box::new(move || output.flush(Duration::from_secs(60)))));
        work
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Shared {
    fn close(&self) {
        #[cfg(feature = "otlp")]
        {
            if let Some(spans) = &self.spans {
                spans.close();
            }
            if let Some(closed) = &self.metrics_closed {
                closed.store(true, Ordering::Release);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
        if self.output.flush(LAST_LINES) {
            self.output.write_directly();
        }
        // The SDK shuts a provider down when it is dropped, and waits for the exporter without a limit.
        if let Some(meters) = self.meters.take() {
            // Without a thread it would be dropped here, which is what is to be avoided.
            let _ = std::thread::Builder::new().spawn(move || drop(meters));
        }
    }
}

/// What is made before anything is installed.
struct Parts {
    telemetry: Telemetry,
    dispatch: Dispatch,
}

impl Parts {
    fn new(
        settings: &TelemetrySettings,
        service: &ServiceInfo,
        environment: &Environment,
        output: Box<dyn Write + Send>,
        terminal: bool,
    ) -> Result<Self, TelemetryError> {
        let identity = Identity::of(service, environment);
        let resource = identity.resource();
        let filter = LogFilter::parse(settings.log_filter.as_deref())?;

        let (exposition, reader) = Exposition::new()?;
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(reader);
        let mut tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(sampler(settings, environment));

        #[cfg(feature = "otlp")]
        let (metrics_closed, metrics_delivery) = {
            let mut closed = None;
            let mut delivery = None;
            if let Some(endpoint) = crate::otlp::metrics_endpoint(settings, environment) {
                let exporter = crate::otlp::metrics(&endpoint)?;
                closed = Some(exporter.closed());
                delivery = Some(exporter.delivery());
                let reader = opentelemetry_sdk::metrics::PeriodicReader::builder(exporter)
                    .with_interval(settings.metric_interval.get())
                    .build();
                meters = meters.with_reader(reader);
            }
            (closed, delivery)
        };

        let meters = (!environment.disabled).then(|| meters.build());
        let metrics = meters.as_ref().map_or_else(Metrics::noop, Metrics::from_provider);
        let dropped = metrics.counter(
            "hafnium.telemetry.dropped",
            "{item}",
            "Telemetry that was dropped instead of delivered: spans, log lines, exports of metrics",
        );
        #[cfg(feature = "otlp")]
        if let Some(delivery) = metrics_delivery {
            delivery.count_in(dropped.with(&[("signal", "metrics")]));
        }

        #[cfg(feature = "otlp")]
        let spans = match crate::otlp::traces_endpoint(settings, environment) {
            Some(endpoint) => {
                let exporter = crate::otlp::spans(&endpoint, &resource)?;
                let interval = settings.span_interval.get();
                let dropped = dropped.with(&[("signal", "traces")]);
                let queue = crate::trace::SpanQueue::start(exporter, settings.span_queue, interval, dropped)
                    .map_err(|error| not_started("span", &error))?;
                tracers = tracers.with_span_processor(queue.clone());
                Some(queue)
            }
            None => None,
        };

        let output = Output::start(output, dropped.with(&[("signal", "logs")]))
            .map_err(|error| not_started("log", &error))?;
        let format = match settings.log_format {
            LogFormat::Json => Format::json(&identity),
            LogFormat::Human => Format::human(terminal),
            LogFormat::Auto if terminal => Format::human(true),
            LogFormat::Auto => Format::json(&identity),
        };

        let traces = tracing_opentelemetry::layer()
            .with_tracer(tracers.build().tracer("hafnium"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::INFO));
        let (of_log, filter) = filter.reloadable();
        let lines = LogLayer::new(format, output.clone()).with_filter(of_log);
        let dispatch = Dispatch::new(Registry::default().with(traces).with(lines));

        let shared = Shared {
            metrics,
            propagation: Propagation::new(W3cPropagator::new(environment.propagators)),
            exposition,
            filter,
            output,
            access_log: settings.access_log,
            meters,
            #[cfg(feature = "otlp")]
            spans,
            #[cfg(feature = "otlp")]
            metrics_closed,
        };
        Ok(Self {
            telemetry: Telemetry {
                shared: Arc::new(shared),
            },
            dispatch,
        })
    }
}

/// Spans are traced from INFO up, whatever is logged. Events stay log lines, which carry the trace id: as events of
/// spans they would be paid for twice, and an ERROR line would mark the span of a good answer as failed.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= LevelFilter::INFO
}

fn not_started(thread: &str, error: &io::Error) -> TelemetryError {
    TelemetryError::Setup {
        reason: format!("the {thread} thread can't be started: {error}"),
    }
}

/// Says what is set and has no effect.
fn report(settings: &TelemetrySettings, environment: &Environment) {
    for variable in &environment.unknown {
        tracing::warn!(variable, "an OTEL_ variable that is set has no effect here");
    }
    let endpoint = settings.otlp_endpoint.is_some()
        || environment.traces_endpoint.is_some()
        || environment.metrics_endpoint.is_some();
    if endpoint && !cfg!(feature = "otlp") {
        tracing::warn!(
            "an OTLP endpoint is set, but this program was built without the feature otlp: nothing is exported"
        );
    }
}
