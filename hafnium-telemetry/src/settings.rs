//! The configuration of telemetry.

use hafnium_core::config::{Alias, ComposeError, Composed, Duration, Parts, Ratio, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The section `telemetry`.
///
/// Beside these keys the variables of the OpenTelemetry specification are honoured as far as the
/// [crate documentation](crate) lists them; a key that is set here wins over such a variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TelemetrySettings {
    /// How a log line looks. Default `auto`: for people where standard output is a terminal, JSON elsewhere.
    #[schemars(extend("x-lax" = {"human": "no collector reads lines that are for people"}))]
    pub log_format: LogFormat,
    /// What is logged, as in `RUST_LOG`: `info,sqlx=warn`. Default `info,opentelemetry=error`: the exporters' own
    /// warnings repeat with each batch, while this crate says once that a collector is gone and once that it is back.
    #[schemars(extend("x-reloadable" = true))]
    pub log_filter: Option<String>,
    /// Whether each request is logged when it ended. Default `true`.
    pub access_log: bool,
    /// The base URL of an OTLP collector, such as `http://collector:4318`; `/v1/traces` and `/v1/metrics` are added.
    /// Default: none, and then nothing is exported. Needs the feature `otlp`.
    #[schemars(extend("x-url-schemes" = ["http", "https"]))]
    pub otlp_endpoint: Option<String>,
    /// The share of traces that is recorded when the caller has not decided. Default `100%`. A caller's decision is
    /// always followed.
    pub sample_ratio: Option<Ratio>,
    /// How long ended spans are collected before they are sent. Default `5s`; a full batch of 512 goes at once.
    pub span_interval: Duration,
    /// How many ended spans wait for the exporter at most. Default `2048`; more are dropped, and counted in
    /// `hafnium.telemetry.dropped`.
    pub span_queue: usize,
    /// How often metrics are sent to the collector. Default `60s`. `/metrics` is independent of it.
    pub metric_interval: Duration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Auto,
            log_filter: None,
            access_log: true,
            otlp_endpoint: None,
            sample_ratio: None,
            span_interval: Duration::from_secs(5),
            span_queue: 2048,
            metric_interval: Duration::from_secs(60),
        }
    }
}

impl Section for TelemetrySettings {
    const KEY: &'static str = "telemetry";
    type Settings = Self;

    fn aliases() -> &'static [Alias] {
        &[
            Alias {
                variable: "RUST_LOG",
                key: "log_filter",
            },
            Alias {
                variable: "OTEL_EXPORTER_OTLP_ENDPOINT",
                key: "otlp_endpoint",
            },
            Alias {
                variable: "OTEL_BSP_MAX_QUEUE_SIZE",
                key: "span_queue",
            },
        ]
    }

    fn composed() -> &'static [Composed] {
        // The specification has bare milliseconds here.
        &[
            Composed {
                variables: &["OTEL_BSP_SCHEDULE_DELAY"],
                key: "span_interval",
                compose: milliseconds,
            },
            Composed {
                variables: &["OTEL_METRIC_EXPORT_INTERVAL"],
                key: "metric_interval",
                compose: milliseconds,
            },
        ]
    }
}

fn milliseconds(parts: &Parts<'_>) -> Result<Option<String>, ComposeError> {
    for variable in ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL"] {
        let Some(number) = parts.get(variable) else {
            continue;
        };
        let Ok(number) = number.trim().parse::<u64>() else {
            let reason = "expected a whole number of milliseconds";
            return Err(ComposeError::Refused { variable, reason });
        };
        let written = Duration::from_millis(number);
        let stated = parts.stated().map(str::parse::<Duration>);
        return match stated {
            Some(stated) if stated != Ok(written) => Err(ComposeError::Contradicts(variable)),
            _ => Ok(Some(written.to_string())),
        };
    }
    Ok(None)
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people where standard output is a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// One line for people, in colour on a terminal.
    Human,
}

#[cfg(test)]
mod tests {
    use hafnium_core::config::{Loader, Sources};

    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_units_are_written_out() {
        let settings: TelemetrySettings =
            serde_json::from_str(r#"{"log_format":"json","sample_ratio":"10%","span_interval":"250ms"}"#)
                .unwrap();
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.sample_ratio, Some(Ratio::from_percent(10)));
        assert_eq!(settings.span_interval, Duration::from_millis(250));
        for wrong in [
            r#"{"log_fromat":"json"}"#,
            r#"{"span_interval":5}"#,
            r#"{"sample_ratio":"2"}"#,
        ] {
            assert!(
                serde_json::from_str::<TelemetrySettings>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    fn load(variables: &[(&str, &str)]) -> Result<TelemetrySettings, String> {
        let sources = variables.iter().fold(Sources::none(), |sources, (name, value)| {
            sources.variable(*name, *value)
        });
        let loader = Loader::new("svc").section::<TelemetrySettings>().sources(sources);
        let config = loader.load().map_err(|error| error.to_string())?;
        config
            .get::<TelemetrySettings>()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn variables_of_the_specification_stand_for_keys_with_their_own_units() {
        let settings = load(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_BSP_SCHEDULE_DELAY", "2500"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "30000"),
        ])
        .unwrap();
        assert_eq!(settings.otlp_endpoint.as_deref(), Some("http://collector:4318"));
        assert_eq!(settings.span_interval, Duration::from_millis(2500));
        assert_eq!(settings.metric_interval, Duration::from_secs(30));
        assert_eq!(settings.span_queue, 100);
    }

    #[test]
    fn a_variable_of_the_specification_that_is_wrong_or_contradicts_its_key_is_named() {
        let report = load(&[("OTEL_METRIC_EXPORT_INTERVAL", "30s")]).unwrap_err();
        assert!(
            report
                .contains("telemetry.metric_interval (OTEL_METRIC_EXPORT_INTERVAL): expected a whole number"),
            "{report}"
        );
        let stated = ("HAFNIUM__TELEMETRY__METRIC_INTERVAL", "30s");
        let report = load(&[stated, ("OTEL_METRIC_EXPORT_INTERVAL", "5000")]).unwrap_err();
        assert!(
            report.contains("by HAFNIUM__TELEMETRY__METRIC_INTERVAL and by OTEL_METRIC"),
            "{report}"
        );
        assert!(load(&[stated, ("OTEL_METRIC_EXPORT_INTERVAL", "30000")]).is_ok());
    }
}
