//! The server time of a probe with every dependency down: the time of the operator listener's router from request to
//! whole answer, without sockets, which are the kernel's and the client's time.
//!
//! The clients are those of a service with two databases, two caches, two clusters and two consumers, started and trying
//! to reach addresses that refuse every connection; so `readyz` tells what each of them says of that. Without `--bench`
//! (as `cargo test` runs it) a few answers show that it works.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hafnium_core::admin::{Admin, Probes};
use hafnium_core::health::{Health, Registry};
use hafnium_core::lifecycle::{Lifecycle, Progress, State};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::secret::Secret;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Component, Context, ServiceInfo};
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_data::redis::{Redis, RedisSettings};
use hafnium_stream::{Consumer, ConsumerSpec, Failure, Kafka, KafkaSettings, Record};
use hafnium_testkit::referee::{Figures, Row};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use tower::ServiceExt;

const TARGET_MICROSECONDS: f64 = 20.0;

/// How long the checks may take to find out.
const ALL_DOWN: Duration = Duration::from_secs(120);

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
    _clients: Vec<Arc<dyn Component>>,
}

impl Service {
    async fn with_everything_down() -> Self {
        let lifecycle = Lifecycle::new();
        let cx = Context::new(
            ServiceInfo::new("bench", "0"),
            Registry::new(),
            Metrics::noop(),
            Propagation::none(),
            Tasks::new(),
            lifecycle.watch(),
        );
        let clients = clients(&cx);
        cx.health().require(DEPENDENCIES.map(str::to_owned));
        cx.health().run(cx.tasks(), cx.metrics());
        for client in &clients {
            let (client, cx) = (client.clone(), cx.clone());
            // What can't be reached fails to start, as a service sees it time and again.
            tokio::spawn(async move { client.start(&cx).await });
        }
        lifecycle.advance(State::Ready);
        let begun = Instant::now();
        while !is_all_down(cx.health()) {
            let report = cx.health().report();
            assert!(begun.elapsed() < ALL_DOWN, "not all is down: {report:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let admin = Admin::new(&cx, Probes::new(&cx, &Progress::new()), String::new);
        Self {
            router: admin.router(),
            _lifecycle: lifecycle,
            _clients: clients,
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

/// The checks that decide over `readyz`.
const DEPENDENCIES: [&str; 6] = [
    "postgres.ledger",
    "postgres.audit",
    "redis.velocity",
    "redis.sessions",
    "kafka.events",
    "kafka.audit",
];

fn is_all_down(health: &Registry) -> bool {
    let report = health.report();
    let is_down = |name: &str| {
        let mut checks = report.checks.iter();
        checks.any(|check| check.name == *name && check.health == Health::Down)
    };
    DEPENDENCIES.iter().all(|name| is_down(name))
}

/// One of each kind and one more, and a consumer of each cluster.
fn clients(cx: &Context) -> Vec<Arc<dyn Component>> {
    let refusing = refusing_port();
    let mut clients: Vec<Arc<dyn Component>> = Vec::new();
    for name in ["ledger", "audit"] {
        let url = Secret::new(format!("postgres://app:secret@127.0.0.1:{refusing}/{name}"));
        let postgres = Postgres::new(name, PostgresSettings::new(url), cx).expect("settings");
        clients.push(Arc::new(postgres));
    }
    for name in ["velocity", "sessions"] {
        let settings = RedisSettings::new(format!("redis://127.0.0.1:{refusing}"));
        clients.push(Arc::new(Redis::new(name, settings, cx).expect("settings")));
    }
    for name in ["events", "audit"] {
        let settings = KafkaSettings::new(format!("127.0.0.1:{refusing}"));
        let kafka = Kafka::new(name, settings, cx).expect("settings");
        let spec = ConsumerSpec::new().topic("payments").group("bench");
        let consumer = Consumer::new(name, spec, &kafka, ignore, cx).expect("a whole declaration");
        clients.push(Arc::new(kafka));
        clients.push(Arc::new(consumer));
    }
    clients
}

async fn ignore(_: Record<String>) -> Result<(), Failure> {
    Ok(())
}

/// A port of loopback that nobody listens on.
fn refusing_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
