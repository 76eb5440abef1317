//! The telemetry of one process: installed once, handed to everyone, flushed at the end.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::{Deadline, ServiceInfo, Stopped};
use tracing::Dispatch;

use crate::assembly::Parts;
use crate::environment::Environment;
use crate::error::TelemetryError;
use crate::flush::{Work, in_parallel};
use crate::panic;
use crate::request::RequestLayer;
use crate::settings::TelemetrySettings;

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
    parts: Parts,
    access_log: bool,
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
        let environment = Environment::of_process()?;
        let terminal = io::stdout().is_terminal();
        let stdout = Box::new(io::stdout());
        let (parts, dispatch) = Parts::assemble(settings, service, &environment, stdout, terminal)?;
        let telemetry = Self::of(parts, settings);
        tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::AlreadyInstalled)?;
        panic::install(telemetry.shared.parts.output.clone());
        report(settings, &environment);
        Ok(telemetry)
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
        let output = Box::new(output);
        let (parts, dispatch) = Parts::assemble(settings, service, &environment, output, false)?;
        Ok((Self::of(parts, settings), dispatch))
    }

    fn of(parts: Parts, settings: &TelemetrySettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                parts,
                access_log: settings.access_log,
            }),
        }
    }

    /// Where instruments are made.
    pub fn metrics(&self) -> Metrics {
        self.shared.parts.metrics.clone()
    }

    /// How trace context crosses process borders: W3C `traceparent`, `tracestate` and `baggage`.
    pub fn propagation(&self) -> Propagation {
        self.shared.parts.propagation.clone()
    }

    /// The layer that gives every request of a router its span, its metrics and its access log line.
    pub fn request_layer(&self) -> RequestLayer {
        let parts = &self.shared.parts;
        let mut layer = RequestLayer::new(&parts.metrics, &parts.propagation);
        if !self.shared.access_log {
            layer = layer.without_access_log();
        }
        match parts.exports_spans() {
            true => layer,
            false => layer.without_export(),
        }
    }

    /// All metrics in the Prometheus text format 0.0.4 ([`PROMETHEUS_TEXT`](crate::PROMETHEUS_TEXT)). It works until
    /// the end, also after [`shutdown`](Self::shutdown). It reads a few files of `/proc` and never waits for a peer.
    pub fn render_prometheus(&self) -> String {
        self.shared.parts.exposition.render()
    }

    /// The present log filter.
    pub fn log_filter(&self) -> String {
        self.shared.parts.filter.current()
    }

    /// Logs by what the configuration says now; nothing stands for the default. Where
    /// [`set_log_filter`](Self::set_log_filter) put something else in force, that stays until it is taken back.
    ///
    /// # Errors
    /// As [`set_log_filter`](Self::set_log_filter).
    pub fn configure_log_filter(&self, filter: Option<&str>) -> Result<(), TelemetryError> {
        self.shared.parts.filter.configure(filter)
    }

    /// Logs by `filter` from now on, whatever is configured; returns the filter that was in force. To set that one again
    /// goes back to what is configured then.
    ///
    /// # Errors
    /// [`TelemetryError::LogFilter`] when it can't be read; the present one stays in force.
    pub fn set_log_filter(&self, filter: &str) -> Result<String, TelemetryError> {
        self.shared.parts.filter.set(filter)
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
        self.shared.parts.close();
        let late = stopped.stragglers();
        // A standard output that takes nothing would hold up whoever logs last.
        if !late.iter().any(|signal| signal == "logs") {
            self.shared.parts.output.write_directly();
        }
        if !late.is_empty() {
            tracing::warn!(signals = ?late, "telemetry was not wholly delivered by the deadline");
        }
        stopped
    }

    fn work(&self) -> Vec<(&'static str, Work)> {
        let mut work: Vec<(&'static str, Work)> = Vec::new();
        #[cfg(feature = "otlp")]
        if let Some(spans) = self.shared.parts.spans.clone() {
            work.push(("traces", Box::new(move || spans.flush())));
        }
        if let Some(meters) = self.shared.parts.meters.clone() {
            work.push(("metrics", Box::new(move || meters.force_flush().is_ok())));
        }
        let output = self.shared.parts.output.clone();
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

impl Drop for Shared {
    fn drop(&mut self) {
        self.parts.close();
        if self.parts.output.flush(LAST_LINES) {
            self.parts.output.write_directly();
        }
        // The SDK shuts a provider down when it is dropped, and waits for the exporter without a limit.
        if let Some(meters) = self.parts.meters.take() {
            // Without a thread it would be dropped here, which is what is to be avoided.
            let _ = std::thread::Builder::new().spawn(move || drop(meters));
        }
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
