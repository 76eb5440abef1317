//! The variables of the OpenTelemetry specification, read once and without touching them.

use std::collections::BTreeMap;

use crate::error::TelemetryError;

/// Variables that are read here, by the OTLP exporter, or as aliases of keys of the configuration.
const HONOURED: &[&str] = &[
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_PROPAGATORS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// How a trace is decided on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// The share of traces that is recorded.
    pub(crate) ratio: f64,
    /// Whether a caller's decision is followed.
    pub(crate) parent_based: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            parent_based: true,
        }
    }
}

/// What the environment says.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Environment {
    pub(crate) disabled: bool,
    pub(crate) service_name: Option<String>,
    pub(crate) resource: Vec<(String, String)>,
    /// `k8s.*` attributes from the downward API.
    pub(crate) kubernetes: Vec<(&'static str, String)>,
    pub(crate) sampling: Option<Sampling>,
    #[cfg_attr(
        not(feature = "otlp"),
        allow(dead_code, reason = "only exporters are turned off")
    )]
    pub(crate) no_traces: bool,
    #[cfg_attr(
        not(feature = "otlp"),
        allow(dead_code, reason = "only exporters are turned off")
    )]
    pub(crate) no_metrics: bool,
    pub(crate) traces_endpoint: Option<String>,
    pub(crate) metrics_endpoint: Option<String>,
    pub(crate) propagators: Propagators,
    /// `OTEL_*` variables that are set and have no effect.
    pub(crate) unknown: Vec<String>,
}

/// Which headers carry context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagators {
    pub(crate) trace_context: bool,
    pub(crate) baggage: bool,
}

impl Default for Propagators {
    fn default() -> Self {
        Self {
            trace_context: true,
            baggage: true,
        }
    }
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> Result<Self, TelemetryError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.into_string().ok()?))
        });
        Self::parse(variables)
    }

    /// Reads `variables`. An empty value counts as not set, as the specification says.
    pub(crate) fn parse(variables: impl Iterator<Item = (String, String)>) -> Result<Self, TelemetryError> {
        let variables: BTreeMap<String, String> = variables
            .filter(|(name, value)| relevant(name) && !value.trim().is_empty())
            .map(|(name, value)| (name, value.trim().to_owned()))
            .collect();
        let get = |name: &str| variables.get(name).map(String::as_str);

        for name in [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        ] {
            if get(name).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(refused(
                    name,
                    "\"http/protobuf\", the one protocol that is built in",
                ));
            }
        }
        Ok(Self {
            disabled: get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            service_name: get("OTEL_SERVICE_NAME").map(str::to_owned),
            resource: resource_attributes(get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()),
            kubernetes: [
                ("k8s.pod.name", "POD_NAME"),
                ("k8s.namespace.name", "POD_NAMESPACE"),
                ("k8s.pod.uid", "POD_UID"),
                ("k8s.node.name", "NODE_NAME"),
            ]
            .into_iter()
            .filter_map(|(key, name)| Some((key, get(name)?.to_owned())))
            .collect(),
            sampling: sampling(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?,
            no_traces: exporter_off("OTEL_TRACES_EXPORTER", get("OTEL_TRACES_EXPORTER"))?,
            no_metrics: exporter_off("OTEL_METRICS_EXPORTER", get("OTEL_METRICS_EXPORTER"))?,
            traces_endpoint: get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned),
            metrics_endpoint: get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").map(str::to_owned),
            propagators: propagators(get("OTEL_PROPAGATORS"))?,
            unknown: variables
                .keys()
                .filter(|name| name.starts_with("OTEL_") && !HONOURED.contains(&name.as_str()))
                .cloned()
                .collect(),
        })
    }
}

fn relevant(name: &str) -> bool {
    name.starts_with("OTEL_") || matches!(name, "POD_NAME" | "POD_NAMESPACE" | "POD_UID" | "NODE_NAME")
}

fn refused(variable: &str, expected: &'static str) -> TelemetryError {
    TelemetryError::Variable {
        variable: variable.to_owned(),
        expected,
    }
}

fn resource_attributes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

fn sampling(sampler: Option<&str>, argument: Option<&str>) -> Result<Option<Sampling>, TelemetryError> {
    let Some(sampler) = sampler else {
        return Ok(None);
    };
    let (parent_based, base) = match sampler.strip_prefix("parentbased_") {
        Some(base) => (true, base),
        None => (false, sampler),
    };
    let ratio = match base {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match argument.map(str::parse::<f64>) {
            None => 1.0,
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => ratio,
            Some(_) => return Err(refused("OTEL_TRACES_SAMPLER_ARG", "a number between 0 and 1")),
        },
        _ => {
            return Err(refused(
                "OTEL_TRACES_SAMPLER",
                "always_on, always_off, traceidratio, or one of them behind parentbased_",
            ));
        }
    };
    Ok(Some(Sampling { ratio, parent_based }))
}

fn exporter_off(variable: &str, value: Option<&str>) -> Result<bool, TelemetryError> {
    match value {
        None | Some("otlp") => Ok(false),
        Some("none") => Ok(true),
        // Metrics are always served at `/metrics` as well.
        Some("prometheus") if variable == "OTEL_METRICS_EXPORTER" => Ok(true),
        Some(_) => Err(refused(variable, "otlp or none")),
    }
}

fn propagators(value: Option<&str>) -> Result<Propagators, TelemetryError> {
    let Some(value) = value else {
        return Ok(Propagators::default());
    };
    let mut propagators = Propagators {
        trace_context: false,
        baggage: false,
    };
    for name in value.split(',').map(str::trim) {
        match name {
            "tracecontext" => propagators.trace_context = true,
            "baggage" => propagators.baggage = true,
            "none" => {}
            _ => return Err(refused("OTEL_PROPAGATORS", "tracecontext, baggage or none")),
        }
    }
    Ok(propagators)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Environment, TelemetryError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment::parse(variables.iter().map(owned))
    }

    #[test]
    fn what_is_not_set_or_empty_changes_nothing() {
        let environment = parse(&[
            ("OTEL_SERVICE_NAME", ""),
            ("PATH", "/bin"),
            ("OTEL_SDK_DISABLED", "no"),
        ]);
        assert_eq!(environment.unwrap(), Environment::default());
    }

    #[test]
    fn the_variables_of_the_specification_are_read() {
        let environment = parse(&[
            ("OTEL_SDK_DISABLED", "TRUE"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=prod, team = risk,broken",
            ),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_PROPAGATORS", "tracecontext"),
            ("POD_NAME", "risk-0"),
        ])
        .unwrap();
        assert!(environment.disabled && environment.no_traces && !environment.no_metrics);
        assert_eq!(environment.resource[1], ("team".to_owned(), "risk".to_owned()));
        assert_eq!(environment.resource.len(), 2);
        assert_eq!(
            environment.sampling,
            Some(Sampling {
                ratio: 0.25,
                parent_based: true
            })
        );
        assert!(environment.propagators.trace_context && !environment.propagators.baggage);
        assert_eq!(environment.kubernetes, [("k8s.pod.name", "risk-0".to_owned())]);
    }

    #[test]
    fn a_value_that_cannot_be_honoured_is_an_error_that_names_the_variable() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_PROPAGATORS", "b3"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        let argument = [
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ];
        assert!(parse(&argument).is_err());
    }

    #[test]
    fn a_variable_without_effect_is_named() {
        let environment = parse(&[("OTEL_SERVCE_NAME", "x"), ("OTEL_SERVICE_NAME", "y")]).unwrap();
        assert_eq!(environment.unknown, ["OTEL_SERVCE_NAME"]);
    }
}
