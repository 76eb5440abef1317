//! What is recorded of the pool of one node, by OpenTelemetry's names for pools of connections.
//!
//! How many connections there are is looked at with each probe, not with each operation; waiting is recorded by who
//! waited.

use std::time::Duration;

use hafnium_core::metrics::{Counter, Gauge, Histogram, Metrics};

use super::pool::Node;

const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A connection that is had sooner was not waited for.
const WAITED: Duration = Duration::from_micros(100);

/// The metrics of one pool.
pub(crate) struct Occupancy {
    idle: Gauge,
    used: Gauge,
    pending: Gauge,
    wait_time: Histogram,
    create_time: Histogram,
    timeouts: Counter,
}

impl Occupancy {
    pub(crate) fn new(metrics: &Metrics, name: &str, node: &str, max: usize) -> Self {
        let pool = ("db.client.connection.pool.name", name);
        let at = ("server.address", node);
        let count = metrics.gauge("db.client.connection.count", "{connection}", "Open connections");
        let state = |state| count.with(&[pool, at, ("db.client.connection.state", state)]);
        let gauge = |metric, unit, description| metrics.gauge(metric, unit, description).with(&[pool, at]);
        let time = |metric, description| {
            metrics
                .histogram(metric, "s", description, SECONDS)
                .with(&[pool, at])
        };
        gauge(
            "db.client.connection.max",
            "{connection}",
            "Connections that the pool may hold",
        )
        .set(max as f64);
        Self {
            idle: state("idle"),
            used: state("used"),
            pending: gauge(
                "db.client.connection.pending_requests",
                "{request}",
                "Operations that wait for a connection",
            ),
            wait_time: time(
                "db.client.connection.wait_time",
                "How long operations waited for a connection that did not get one at once",
            ),
            create_time: time(
                "db.client.connection.create_time",
                "How long logins took that succeeded, waiting for credentials included",
            ),
            timeouts: metrics
                .counter(
                    "db.client.connection.timeouts",
                    "{timeout}",
                    "Operations that got no connection in time",
                )
                .with(&[pool, at]),
        }
    }

    /// Looks at the pool of `node`.
    pub(crate) fn look(&self, node: &Node) {
        let pool = node.pool.status();
        self.used.set(node.in_use() as f64);
        self.idle.set((pool.available + node.opener.spares()) as f64);
        self.pending.set(node.waiting() as f64);
    }

    pub(crate) fn waited(&self, time: Duration) {
        if time >= WAITED {
            self.wait_time.record(time.as_secs_f64());
        }
    }

    pub(crate) fn opened(&self, time: Duration) {
        self.create_time.record(time.as_secs_f64());
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.add(1);
    }
}
