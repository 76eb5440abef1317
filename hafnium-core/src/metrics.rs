//! The one small module through which the crates record metrics.
//!
//! Instruments are made from the [`Metrics`] of a [`Context`](crate::Context), never from a global meter: instruments
//! made before a global provider is installed stay no-ops for ever. A handle finds the series of its labels when it first
//! records, so that a hot path looks nothing up: by labels, the SDK hashes all of them for each value. OpenTelemetry's
//! types stay behind this module.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    BoundCounter, BoundGauge, BoundHistogram, BoundUpDownCounter, Meter, MeterProvider,
    noop::NoopMeterProvider,
};

/// Makes instruments. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    meter: Meter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// One label of a handle: a key and a value from a bounded set.
pub type Label<'a> = (&'static str, &'a str);

impl Metrics {
    /// Metrics that go nowhere.
    pub fn noop() -> Self {
        Self {
            meter: NoopMeterProvider::new().meter("hafnium"),
        }
    }

    /// Metrics recorded by `provider`; called by the telemetry installer.
    #[doc(hidden)]
    pub fn from_provider(provider: &impl MeterProvider) -> Self {
        Self {
            meter: provider.meter("hafnium"),
        }
    }

    /// A count that only grows. `unit` is a UCUM unit such as `{request}` or `s`.
    pub fn counter(&self, name: &'static str, unit: &'static str, description: &'static str) -> Counter {
        let inner = self
            .meter
            .u64_counter(name)
            .with_unit(unit)
            .with_description(description)
            .build();
        Counter {
            inner,
            labels: Box::default(),
            bound: OnceLock::new(),
        }
    }

    /// A count that grows and shrinks, such as requests in flight.
    pub fn up_down(&self, name: &'static str, unit: &'static str, description: &'static str) -> UpDown {
        let inner = self
            .meter
            .i64_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .build();
        UpDown {
            inner,
            labels: Box::default(),
            bound: OnceLock::new(),
        }
    }

    /// A value that is set.
    pub fn gauge(&self, name: &'static str, unit: &'static str, description: &'static str) -> Gauge {
        let inner = self
            .meter
            .f64_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .build();
        Gauge {
            inner,
            labels: Box::default(),
            bound: OnceLock::new(),
        }
    }

    /// A distribution with upper `bounds` of its buckets, in `unit`.
    ///
    /// Bounds are always explicit: OpenTelemetry's default ones are meant for milliseconds.
    pub fn histogram(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        bounds: &[f64],
    ) -> Histogram {
        let inner = self
            .meter
            .f64_histogram(name)
            .with_unit(unit)
            .with_description(description)
            .with_boundaries(bounds.to_vec())
            .build();
        Histogram {
            inner,
            labels: Box::default(),
            bound: OnceLock::new(),
        }
    }
}

fn key_values(labels: &[Label<'_>]) -> Box<[KeyValue]> {
    labels
        .iter()
        .map(|(key, value)| KeyValue::new(*key, (*value).to_owned()))
        .collect()
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $bound:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            inner: $inner,
            labels: Box<[KeyValue]>,
            /// From the first value on: a series that is bound exists, and one without a value is not to be shown.
            bound: OnceLock<$bound>,
        }

        impl $name {
            /// The same instrument with `labels`, resolved once; they replace labels given before.
            #[must_use]
            pub fn with(&self, labels: &[Label<'_>]) -> Self {
                Self { inner: self.inner.clone(), labels: key_values(labels), bound: OnceLock::new() }
            }

            fn bound(&self) -> &$bound {
                self.bound.get_or_init(|| self.inner.bind(&self.labels))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

handle!(
    /// A count that only grows.
    Counter,
    opentelemetry::metrics::Counter<u64>,
    BoundCounter<u64>
);
handle!(
    /// A count that grows and shrinks.
    UpDown,
    opentelemetry::metrics::UpDownCounter<i64>,
    BoundUpDownCounter<i64>
);
handle!(
    /// A value that is set.
    Gauge,
    opentelemetry::metrics::Gauge<f64>,
    BoundGauge<f64>
);
handle!(
    /// A distribution.
    Histogram,
    opentelemetry::metrics::Histogram<f64>,
    BoundHistogram<f64>
);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.bound().add(amount);
    }
}

impl UpDown {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.bound().add(amount);
    }
}

impl Gauge {
    /// Sets the value. One that is no finite number is dropped.
    pub fn set(&self, value: f64) {
        if value.is_finite() {
            self.bound().record(value);
        }
    }
}

impl Histogram {
    /// Records one value, in the unit of the instrument. One that is no finite number is dropped.
    pub fn record(&self, value: f64) {
        if value.is_finite() {
            self.bound().record(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    fn recorded() -> (Metrics, SdkMeterProvider, Registry) {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let reader = reader.scope_info_enabled(false).without_target_info().build();
        let provider = SdkMeterProvider::builder().with_reader(reader.unwrap()).build();
        (Metrics::from_provider(&provider), provider, registry)
    }

    fn series(registry: &Registry) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_handle_has_a_series_from_its_first_value_on_and_all_handles_of_the_same_labels_share_it() {
        let (metrics, _provider, registry) = recorded();
        let state = metrics.gauge("state", "", "");
        let (open, closed) = (
            state.with(&[("state", "open")]),
            state.with(&[("state", "closed")]),
        );
        open.set(f64::NAN);
        assert_eq!(series(&registry), Vec::<String>::new());
        closed.set(1.0);
        state.with(&[("state", "closed")]).set(2.0);
        closed.clone().set(3.0);
        assert_eq!(series(&registry), ["state{state=\"closed\"} 3"]);
        let answers = metrics.counter("answers", "", "");
        let ok = answers.with(&[("status", "200"), ("method", "GET")]);
        ok.add(1);
        ok.clone().add(1);
        answers.with(&[("method", "GET"), ("status", "200")]).add(1);
        assert_eq!(
            series(&registry)[0],
            "answers_total{method=\"GET\",status=\"200\"} 3"
        );
    }
}
