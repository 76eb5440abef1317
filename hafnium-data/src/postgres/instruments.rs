//! The metrics of one database, with handles resolved once.

use std::time::Duration;

use hafnium_core::Outcome;
use hafnium_core::metrics::{Counter, Gauge, Histogram, Metrics};
use tokio::time::Instant;

use super::topology::Split;

const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What is recorded for a database.
pub(crate) struct Instruments {
    done: Histogram,
    not_run: Histogram,
    rolled_back: Histogram,
    unknown: Histogram,
    pub(crate) retries: Counter,
    unknown_outcomes: Counter,
}

impl Instruments {
    pub(crate) fn new(metrics: &Metrics, name: &str) -> Self {
        let duration = metrics.histogram(
            "db.client.operation.duration",
            "s",
            "Duration of an operation, its waits and retries included",
            SECONDS,
        );
        let by_outcome = |outcome| {
            duration.with(&[
                ("db.system.name", "postgresql"),
                ("db.client.connection.pool.name", name),
                ("hafnium.outcome", outcome),
            ])
        };
        let counter = |metric, description| {
            metrics
                .counter(metric, "{operation}", description)
                .with(&[("db.client.connection.pool.name", name)])
        };
        Self {
            done: by_outcome("done"),
            not_run: by_outcome(Outcome::NotRun.as_str()),
            rolled_back: by_outcome(Outcome::RolledBack.as_str()),
            unknown: by_outcome(Outcome::Unknown.as_str()),
            retries: counter("hafnium.postgres.retries", "Operations tried again"),
            unknown_outcomes: counter(
                "hafnium.postgres.unknown_outcomes",
                "Errors surfaced of which no one can say whether the operation took effect",
            ),
        }
    }

    /// Records an operation that begins now, however it ends.
    pub(crate) fn begin(&self) -> Running<'_> {
        Running {
            instruments: self,
            started: Instant::now(),
            given_up: Outcome::NotRun,
            doubted: false,
            ended: false,
        }
    }

    /// Records the end of an operation: `None` when it was done, else the outcome that its caller is told.
    fn ended(&self, took: Duration, failed: Option<Outcome>) {
        let histogram = match failed {
            None => &self.done,
            Some(Outcome::NotRun) => &self.not_run,
            Some(Outcome::RolledBack) => &self.rolled_back,
            Some(_) => {
                self.unknown_outcomes.add(1);
                &self.unknown
            }
        };
        histogram.record(took.as_secs_f64());
    }
}

/// Whether a split brain lasts.
pub(crate) struct SplitInstruments {
    open: Gauge,
    decided: Gauge,
}

impl SplitInstruments {
    pub(crate) fn new(metrics: &Metrics, name: &str) -> Self {
        let gauge = metrics.gauge(
            "hafnium.postgres.split_brain",
            "1",
            "1 while two servers say primary with the same timeline, else 0",
        );
        let state = |state| gauge.with(&[("db.client.connection.pool.name", name), ("state", state)]);
        Self {
            open: state("open"),
            decided: state("decided"),
        }
    }

    pub(crate) fn show(&self, split: Split) {
        self.open.set(f64::from(u8::from(split == Split::Open)));
        self.decided.set(f64::from(u8::from(split == Split::Decided)));
    }
}

/// An operation that goes on. It is recorded once: by its end, or when it is dropped before.
pub(crate) struct Running<'a> {
    instruments: &'a Instruments,
    started: Instant,
    given_up: Outcome,
    doubted: bool,
    ended: bool,
}

impl Running<'_> {
    /// What becomes of it if its caller gives it up from now on.
    pub(crate) fn if_given_up(&mut self, outcome: Outcome) {
        self.given_up = outcome;
    }

    /// A try of it may have taken effect, whatever becomes of those that follow.
    pub(crate) fn doubted(&mut self) {
        self.doubted = true;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// It ended: `None` when it was done, else the outcome that its caller is told.
    pub(crate) fn ended(mut self, failed: Option<Outcome>) {
        self.ended = true;
        self.instruments.ended(self.elapsed(), failed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let outcome = match self.doubted {
                true => Outcome::Unknown,
                false => self.given_up,
            };
            self.instruments.ended(self.elapsed(), Some(outcome));
        }
    }
}

/// What is recorded for one node.
pub(crate) struct NodeInstruments {
    roles: [(&'static str, Gauge); 4],
    lag: Gauge,
    pub(crate) refused: Counter,
    pub(crate) suspected: Counter,
    pub(crate) failover: Histogram,
}

impl NodeInstruments {
    pub(crate) fn new(metrics: &Metrics, name: &str, node: &str) -> Self {
        let pool = ("db.client.connection.pool.name", name);
        let at = ("server.address", node);
        let role = metrics.gauge(
            "hafnium.postgres.role",
            "1",
            "1 when the node has the role and answers, else 0",
        );
        Self {
            roles: ["primary", "standby", "deposed", "diverged"]
                .map(|name| (name, role.with(&[pool, at, ("role", name)]))),
            lag: metrics
                .gauge(
                    "hafnium.postgres.replay_lag",
                    "s",
                    "For how long the primary has had what the node has not replayed",
                )
                .with(&[pool, at]),
            refused: metrics
                .counter(
                    "hafnium.postgres.deposed_writes_refused",
                    "{operation}",
                    "Operations cut off a node that must not take writes any more",
                )
                .with(&[pool, at]),
            failover: metrics
                .histogram(
                    "hafnium.postgres.failover.duration",
                    "s",
                    "From the loss of the primary until this node took its place",
                    SECONDS,
                )
                .with(&[pool, at]),
            suspected: metrics
                .counter(
                    "hafnium.postgres.suspected",
                    "{event}",
                    "Times an operation or a login ended such that its node was probed at once",
                )
                .with(&[pool, at]),
        }
    }

    /// The role of a node that answers.
    pub(crate) fn role(&self, shown: Option<&str>) {
        for (name, gauge) in &self.roles {
            gauge.set(f64::from(u8::from(shown == Some(*name))));
        }
    }

    /// A lag that is not known, as of a node that is out of reach, stays what it was.
    pub(crate) fn lag(&self, lag: Option<Duration>) {
        if let Some(lag) = lag {
            self.lag.set(lag.as_secs_f64());
        }
    }
}
