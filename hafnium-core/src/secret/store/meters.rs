//! The metrics of one secret, a series for each key that holds it.

use super::report::SecretReport;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::secret::provider::{FetchError, FetchErrorKind, Version};
use crate::secret::slot::Published;

/// Instruments that are resolved for the keys of one secret.
#[derive(Default)]
pub(super) struct Meters {
    keys: Vec<KeyMeters>,
}

struct KeyMeters {
    key: String,
    age: Gauge,
    maximum_age: Gauge,
    version: Gauge,
    severity: Gauge,
    refreshes: Refreshes,
}

struct Refreshes {
    changed: Counter,
    unchanged: Counter,
    denied: Counter,
    missing: Counter,
    unavailable: Counter,
    invalid: Counter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, keys: &[String]) -> Self {
        let age = metrics.gauge(
            "hafnium.secret.age",
            "s",
            "How long ago the secret was changed, at its source or by what this process knows",
        );
        let maximum_age = metrics.gauge(
            "hafnium.secret.maximum.age",
            "s",
            "The age from which on the secret is too old",
        );
        let version = metrics.gauge(
            "hafnium.secret.version",
            "1",
            "The first 32 bits of a hash of the version in use; another number is another value",
        );
        let severity = metrics.gauge(
            "hafnium.secret.severity",
            "1",
            "How the secret stands: 0 well, 1 someone should look, 2 the service can't work",
        );
        let refreshes = metrics.counter(
            "hafnium.secret.refreshes",
            "{refresh}",
            "Questions to the source of the secret, by result",
        );
        let keys = keys.iter().map(|key| {
            let labels = [("secret", key.as_str())];
            let result = |result| refreshes.with(&[("secret", key.as_str()), ("result", result)]);
            KeyMeters {
                key: key.clone(),
                age: age.with(&labels),
                maximum_age: maximum_age.with(&labels),
                version: version.with(&labels),
                severity: severity.with(&labels),
                refreshes: Refreshes {
                    changed: result("changed"),
                    unchanged: result("unchanged"),
                    denied: result("denied"),
                    missing: result("missing"),
                    unavailable: result("unavailable"),
                    invalid: result("invalid"),
                },
            }
        });
        Self { keys: keys.collect() }
    }

    /// Counts one question to the source.
    pub(super) fn asked(&self, result: Result<&Published, &FetchError>) {
        for KeyMeters { refreshes, .. } in &self.keys {
            let counter = match result {
                Ok(Published::Changed) => &refreshes.changed,
                Ok(Published::Unchanged) => &refreshes.unchanged,
                Err(error) => match error.kind {
                    FetchErrorKind::Denied => &refreshes.denied,
                    FetchErrorKind::Missing => &refreshes.missing,
                    FetchErrorKind::Unavailable => &refreshes.unavailable,
                    FetchErrorKind::Invalid => &refreshes.invalid,
                },
            };
            counter.add(1);
        }
    }

    /// Sets the gauges to what is reported.
    pub(super) fn set(&self, reports: &[SecretReport], version: &Version) {
        for meters in &self.keys {
            let Some(report) = reports.iter().find(|report| report.key == meters.key) else {
                continue;
            };
            meters.age.set(report.age.as_secs_f64());
            meters.maximum_age.set(report.maximum_age.as_secs_f64());
            meters.version.set(f64::from(version.number()));
            meters.severity.set(f64::from(report.state.severity()));
        }
    }
}
