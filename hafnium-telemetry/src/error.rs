//! Why telemetry could not be installed.

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// This process has a tracing subscriber already.
    #[error("telemetry is installed already: this process has a tracing subscriber")]
    AlreadyInstalled,
    /// The log filter can't be read; nothing was changed.
    #[error("the log filter {filter:?} can't be read: {reason}; expected something like \"info,sqlx=warn\"")]
    #[non_exhaustive]
    LogFilter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the OpenTelemetry specification has a value that can't be honoured.
    #[error("{variable}: expected {expected}")]
    #[non_exhaustive]
    Variable {
        /// The variable.
        variable: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// An exporter could not be made from its endpoint and variables.
    #[error("the OTLP exporter of {signal} can't be made: {reason}")]
    #[non_exhaustive]
    Exporter {
        /// `traces` or `metrics`.
        signal: &'static str,
        /// What the exporter said.
        reason: String,
    },
    /// A thread or an instrument could not be made.
    #[error("telemetry could not be set up: {reason}")]
    #[non_exhaustive]
    Setup {
        /// What failed.
        reason: String,
    },
}
