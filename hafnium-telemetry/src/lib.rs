//! Logs, traces, metrics and their way out of a process.
//!
//! One call of [`Telemetry::install`] at the start gives a service
//!
//! * **logs**: one JSON object per line on standard output (or lines for people on a terminal), with the trace and
//!   span they belong to, the fields of the current span, and who wrote them. Fields named like secrets are redacted.
//!   A thread of its own writes them; a slow or closed standard output holds up nothing;
//! * **traces**: every `tracing` span from INFO up, sampled by ratio unless the caller decided, sent to an OTLP
//!   collector (http/protobuf, feature `otlp`) from a thread of its own. Trace ids are in the logs without a collector
//!   too. Events stay log lines and are not copied into spans;
//! * **metrics**: the instruments of [`Telemetry::metrics`] and the process itself, as Prometheus text from
//!   [`Telemetry::render_prometheus`], and to the collector where one is set;
//! * **propagation**: W3C `traceparent`, `tracestate` and `baggage` through [`Telemetry::propagation`];
//! * **requests**: [`Telemetry::request_layer`] for axum routers;
//! * **a flush that works**: [`Telemetry::shutdown`] within one deadline, from a task of any runtime.
//!
//! A collector that is down, slow or silent costs requests nothing: queues are bounded, what does not fit is dropped
//! and counted in `hafnium.telemetry.dropped`, by `signal`.
//!
//! ```no_run
//! use std::time::Duration;
//! use hafnium_core::{Deadline, ServiceInfo};
//! use hafnium_telemetry::{Telemetry, TelemetryError, TelemetrySettings};
//!
//! # async fn example() -> Result<(), TelemetryError> {
//! let service = ServiceInfo::new("risk-engine", env!("CARGO_PKG_VERSION"));
//! let telemetry = Telemetry::install(&TelemetrySettings::default(), &service)?;
//! tracing::info!(accounts = 17, "warmed up");
//! let stopped = telemetry.shutdown(Deadline::after(Duration::from_secs(3))).await;
//! # drop(stopped);
//! # Ok(())
//! # }
//! ```
//!
//! # Variables of the OpenTelemetry specification
//!
//! `RUST_LOG`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_SCHEDULE_DELAY` and
//! `OTEL_METRIC_EXPORT_INTERVAL` are aliases of keys of [`TelemetrySettings`] and come through the configuration. Read by [`Telemetry::install`] itself:
//!
//! | variable | effect |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: nothing is recorded or exported; logs, propagation and process metrics stay |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | win over what the program says of itself, in logs as well |
//! | `POD_NAME`, `POD_NAMESPACE`, `POD_UID`, `NODE_NAME` | become `k8s.*` attributes |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | `always_on`, `always_off`, `traceidratio`, also behind `parentbased_`; `sample_ratio` wins |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `otlp` or `none` |
//! | `OTEL_PROPAGATORS` | any of `tracecontext`, `baggage`; or `none` |
//! | `OTEL_EXPORTER_OTLP_{TRACES,METRICS}_ENDPOINT` | the whole URL for one signal |
//! | `OTEL_EXPORTER_OTLP_[{TRACES,METRICS}_]{HEADERS,TIMEOUT}` | as specified |
//! | `OTEL_EXPORTER_OTLP_[{TRACES,METRICS}_]PROTOCOL` | `http/protobuf`; anything else is an error |
//! | `OTEL_SPAN_{ATTRIBUTE,EVENT,LINK}_COUNT_LIMIT` | as specified |
//!
//! A value that can't be honoured is an error that names the variable; any other `OTEL_*` variable that is set is
//! named in a warning.

mod assembly;
#[cfg(feature = "otlp")]
mod delivery;
mod environment;
mod error;
mod exposition;
mod filter;
mod flush;
mod layer;
mod log;
mod loglevel;
#[cfg(feature = "otlp")]
mod otlp;
mod panic;
mod redaction;
mod request;
mod resource;
mod settings;
mod telemetry;
mod trace;

pub use error::TelemetryError;
pub use exposition::PROMETHEUS_TEXT;
pub use request::{ObservedBody, ObservedFuture, RequestLayer, RequestService, inject_headers};
pub use settings::{LogFormat, TelemetrySettings};
pub use telemetry::Telemetry;
