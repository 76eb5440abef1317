//! The server time of a probe with every dependency down: the time of the operator listener's router from request to
//! whole answer, without sockets, which are the kernel's and the client's time.
//!
//! The checks and watchdogs are as many, and say as much, as those of a service with two databases, two caches, two
//! clusters and two consumers; all of them are down, so that `readyz` tells them all. Without `--bench` (as `cargo test`
//! runs it) a few answers show that it works.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hafnium_core::admin::{Admin, Probes};
use hafnium_core::health::{Check, Health, Heartbeat, Registration, Status};
use hafnium_core::lifecycle::{Lifecycle, Progress, State};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, ServiceInfo};
use hafnium_testkit::referee::{Figures, Row};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use tower::ServiceExt;

const TARGET_MICROSECONDS: f64 = 20.0;

const DEPENDENCIES: [&str; 8] = [
    "postgres.ledger",
    "postgres.audit",
    "redis.velocity",
    "redis.sessions",
    "kafka.events",
    "kafka.audit",
    "consumer.payments",
    "consumer.refunds",
];

const REASON: &str = "connection refused (os error 111) by every known node; the last one answered 42.7s ago";

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let probes = if measuring { 200_000 } else { 100 };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut figures = Figures::part("core", "probes", 0, probes);
    runtime.block_on(async {
        let service = Service::with_everything_down().await;
        for (path, status) in [("/livez", 200), ("/readyz", 503), ("/startupz", 200)] {
            let p99 = service.p99(path, status, probes).await;
            let row = Row::new("probe_server_time_p99", path, Some(p99), "µs");
            figures.add(row.at_most(TARGET_MICROSECONDS));
        }
    });
    if measuring {
        println!("{figures}");
        figures.write().expect("target/figures can be written");
    }
}

struct Service {
    router: Router,
    _lifecycle: Lifecycle,
    _checks: Vec<Registration>,
    _beats: Vec<Heartbeat>,
}

impl Service {
    async fn with_everything_down() -> Self {
        let lifecycle = Lifecycle::new();
        let cx = Context::new(
            ServiceInfo::new("bench", "0"),
            hafnium_core::health::Registry::new(),
            Metrics::noop(),
            Propagation::none(),
            Tasks::new(),
            lifecycle.watch(),
        );
        let health = cx.health();
        let down = || async { Status::Down(REASON.to_owned()) };
        let checks = DEPENDENCIES
            .iter()
            .map(|name| health.register(Check::shared(*name), down))
            .collect();
        health.require(DEPENDENCIES.map(str::to_owned));
        let beats = [
            "runtime",
            "http.accept",
            "http.loopback",
            "consumer.payments",
            "consumer.refunds",
        ];
        let beats = beats.map(|name| health.heartbeat(name, Duration::from_secs(3600)));
        health.run(cx.tasks(), cx.metrics());
        lifecycle.advance(State::Ready);
        while health
            .report()
            .checks
            .iter()
            .any(|check| check.health != Health::Down)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let admin = Admin::new(&cx, Probes::new(&cx, &Progress::new()), String::new);
        Self {
            router: admin.router(),
            _lifecycle: lifecycle,
            _checks: checks,
            _beats: beats.into(),
        }
    }

    /// The 99th percentile of so many answers, in microseconds.
    async fn p99(&self, path: &str, status: u16, probes: u32) -> f64 {
        let mut nanoseconds =
            Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("a minute, three digits");
        for _ in 0..probes {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            // A connection has a router of its own before a request comes.
            let router = self.router.clone();
            let begun = Instant::now();
            let answer = router.oneshot(request).await.expect("a router never fails");
            let answered = answer.status();
            answer.into_body().collect().await.expect("a body");
            nanoseconds.saturating_record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            assert_eq!(answered, status, "{path}");
        }
        nanoseconds.value_at_quantile(0.99) as f64 / 1000.0
    }
}
