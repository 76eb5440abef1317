//! The one small module through which the crates record metrics.
//!
//! Instruments are made from the [`Metrics`] of a [`Context`](crate::Context), never from a global meter: instruments
//! made before a global provider is installed stay no-ops for ever. A handle carries its labels, so that a hot path
//! looks nothing up. OpenTelemetry's types stay behind this module.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider, noop::NoopMeterProvider};

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
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            inner: $inner,
            labels: Box<[KeyValue]>,
        }

        impl $name {
            /// The same instrument with `labels`, resolved once; they replace labels given before.
            #[must_use]
            pub fn with(&self, labels: &[Label<'_>]) -> Self {
                Self { inner: self.inner.clone(), labels: key_values(labels) }
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
    opentelemetry::metrics::Counter<u64>
);
handle!(
    /// A count that grows and shrinks.
    UpDown,
    opentelemetry::metrics::UpDownCounter<i64>
);
handle!(
    /// A value that is set.
    Gauge,
    opentelemetry::metrics::Gauge<f64>
);
handle!(
    /// A distribution.
    Histogram,
    opentelemetry::metrics::Histogram<f64>
);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.inner.add(amount, &self.labels);
    }
}

impl UpDown {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.inner.add(amount, &self.labels);
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.inner.record(value, &self.labels);
    }
}

impl Histogram {
    /// Records one value, in the unit of the instrument.
    pub fn record(&self, value: f64) {
        self.inner.record(value, &self.labels);
    }
}
