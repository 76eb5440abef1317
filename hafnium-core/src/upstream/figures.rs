//! The metrics of an upstream, by OpenTelemetry's conventions for HTTP clients where there are any.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::Method;

use super::link::Counts;
use super::target::Target;
use crate::metrics::{Counter, Gauge, Histogram, Metrics, UpDown};

const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// What a duration is recorded under besides its server: method, status, `error.type`.
type Labels = (&'static str, Option<u16>, Option<&'static str>);

pub(super) struct Figures {
    server: [(&'static str, String); 3],
    duration: Histogram,
    /// Handles by label, so that a request looks no label up in the SDK.
    durations: RwLock<HashMap<Labels, Histogram>>,
    connections: UpDown,
    pub(super) active: UpDown,
    pub(super) ejections: Counter,
    pub(super) addresses_in: Gauge,
    pub(super) addresses_out: Gauge,
    pub(super) hedges: Counter,
    pub(super) hedges_won: Counter,
    pub(super) reopened: Counter,
    pub(super) lookups_failed: Counter,
}

impl Figures {
    pub(super) fn new(upstream: &str, target: &Target, metrics: &Metrics) -> Self {
        let server = [
            ("server.address", target.host.clone()),
            ("server.port", target.port.to_string()),
            ("url.scheme", target.scheme.to_string()),
        ];
        let here = [("upstream", upstream)];
        let addresses = metrics.gauge(
            "hafnium.upstream.addresses",
            "{address}",
            "Addresses of an upstream, in use or ejected",
        );
        let address = |state| addresses.with(&[("upstream", upstream), ("state", state)]);
        let counter = |name, unit, text| metrics.counter(name, unit, text).with(&here);
        let active = metrics.up_down(
            "http.client.active_requests",
            "{request}",
            "Attempts that wait for an answer or read one",
        );
        let labels: Vec<_> = server.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Self {
            duration: metrics.histogram(
                "http.client.request.duration",
                "s",
                "Duration of one attempt of an HTTP request, its answer's body included",
                &SECONDS,
            ),
            durations: RwLock::default(),
            connections: metrics.up_down(
                "http.client.open_connections",
                "{connection}",
                "Open connections, active or idle",
            ),
            active: active.with(&labels),
            ejections: counter(
                "hafnium.upstream.ejections",
                "{ejection}",
                "Addresses ejected for a while",
            ),
            addresses_in: address("in"),
            addresses_out: address("ejected"),
            hedges: counter(
                "hafnium.upstream.hedges",
                "{attempt}",
                "Second attempts that started beside a slow first one",
            ),
            hedges_won: counter(
                "hafnium.upstream.hedges_won",
                "{attempt}",
                "Second attempts whose answer was used",
            ),
            reopened: counter(
                "hafnium.upstream.reopened",
                "{attempt}",
                "Attempts repeated at once because a kept connection was just being closed",
            ),
            lookups_failed: counter(
                "hafnium.upstream.lookups_failed",
                "{lookup}",
                "Lookups of an upstream's name that gave no address",
            ),
            server,
        }
    }

    /// Counts of the connections to one address.
    pub(super) fn counts(&self) -> Counts {
        let state = |state| {
            let mut labels = vec![("http.connection.state", state)];
            labels.extend(self.server.iter().map(|(key, value)| (*key, value.as_str())));
            self.connections.with(&labels)
        };
        Counts::new(state("active"), state("idle"))
    }

    pub(super) fn record(
        &self,
        method: &Method,
        status: Option<u16>,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let labels = (method_name(method), status, error);
        let known = self.durations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.get(&labels) {
            handle.record(took.as_secs_f64());
            return;
        }
        drop(known);
        let handle = self.handle(labels);
        handle.record(took.as_secs_f64());
        let mut known = self.durations.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(labels, handle);
    }

    fn handle(&self, (method, status, error): Labels) -> Histogram {
        let status = status.map(|status| status.to_string());
        let mut all = vec![("http.request.method", method)];
        all.extend(self.server.iter().map(|(key, value)| (*key, value.as_str())));
        all.extend(
            status
                .as_deref()
                .map(|status| ("http.response.status_code", status)),
        );
        all.extend(error.map(|error| ("error.type", error)));
        self.duration.with(&all)
    }
}

/// Of a bounded set: whatever else a program sends is `_OTHER`.
pub(super) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}
