//! What a whole service costs: how long from exec to ready with warm dependencies, and how much memory it holds idle.
//!
//! One quick run in `cargo test`, many where `HAFNIUM_FIGURES` is set. The other rows of the suite `core` come from
//! benchmarks; they stand here as *not run*, and in the suite's file what was measured takes their place.
#![cfg(all(feature = "postgres", feature = "redis", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hafnium_testkit::kafka::KafkaCluster;
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::redis::RedisServer;
use hafnium_testkit::referee::{Figures, Row, Samples};
use support::http::get;
use support::{Launch, Service};

/// When a service that has nothing to do is looked at.
const SETTLED: Duration = Duration::from_secs(3);

/// Figures of the suite that other programs measure, with the same targets.
fn of_other_programs() -> [Row; 5] {
    let row = |name, unit| Row::new(name, "", None, unit);
    [
        row("hello_throughput_ratio", "ratio").at_least(0.95),
        row("hello_p99_ratio", "ratio").at_most(1.1),
        row("hello_layers_ratio", "ratio").at_least(0.85),
        row("probe_server_time_p99", "µs").at_most(20.0),
        row("requests_failed_during_sigterm", "").exactly(0.0),
    ]
}

/// The service with every kind of client, and a certificate for its listener.
struct Whole {
    postgres: PostgresCluster,
    redis: RedisServer,
    kafka: KafkaCluster,
    certificate: String,
    key: String,
}

impl Whole {
    async fn warm() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (postgres, redis, kafka) = tokio::join!(
            PostgresCluster::single(),
            RedisServer::start(),
            KafkaCluster::single()
        );
        Self {
            postgres: postgres.unwrap(),
            redis: redis.unwrap(),
            kafka: kafka.unwrap(),
            certificate: pair.cert.pem(),
            key: pair.signing_key.serialize_pem(),
        }
    }

    /// Starts the service; gives it once it is ready, and how long that took from the moment it was executed.
    async fn start(&self, program: &Path) -> (Service, Duration) {
        let launch = Launch::new(program)
            .variable("CONFORMANCE_CASE", "all")
            .variable("DATABASE_URL", self.postgres.url("postgres"))
            .variable("REDIS_URL", self.redis.url())
            .variable("KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap())
            .variable("HAFNIUM__HTTP__TLS__CERTIFICATE", &self.certificate)
            .variable("HAFNIUM__HTTP__TLS__KEY", &self.key);
        let begun = Instant::now();
        let service = launch.start();
        loop {
            if let Ok(answer) = get("/readyz").send(service.admin).await
                && answer.status == 200
            {
                return (service, begun.elapsed());
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", service.stdout());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The service, and how it was built: what is deployed is built with the profile `deploy`, which `make figures` names.
fn program() -> (PathBuf, &'static str) {
    match std::env::var_os("HAFNIUM_FIGURES_SERVICE") {
        Some(path) => (path.into(), "profile deploy"),
        None => (env!("CARGO_BIN_EXE_conformance").into(), "debug"),
    }
}

/// What the process holds in memory, in MB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = resident.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024.0 / 1e6
}

/// How large the stripped builds are that `make figures` made; not run where it did not.
fn stripped_binaries() -> [Row; 3] {
    let size = |case, variable| {
        let path = std::env::var_os(variable);
        let bytes = path.map(|path| std::fs::metadata(path).unwrap().len());
        Row::new(
            "stripped_binary",
            case,
            bytes.map(|bytes| bytes as f64 / 1e6),
            "MB",
        )
    };
    [
        size("quickstart without features", "HAFNIUM_FIGURES_QUICKSTART"),
        size("every client and TLS", "HAFNIUM_FIGURES_SERVICE"),
        size("every client, TLS, OTLP, AWS and Vault", "HAFNIUM_FIGURES_WHOLE"),
    ]
}

#[tokio::test]
async fn a_whole_service_is_ready_soon_and_small_when_idle() {
    let runs = if std::env::var_os("HAFNIUM_FIGURES").is_some() {
        20
    } else {
        1
    };
    let whole = Whole::warm().await;
    let (program, built) = program();
    // The first start of all reads the program from the disk, which no restart in a cluster does.
    let (first, _) = whole.start(&program).await;
    tokio::time::sleep(SETTLED).await;
    let mut idle = resident(first.id());
    first.stop(Duration::from_secs(20)).await.exited(0);
    let mut starts = Samples::new();
    for run in 0..runs {
        let (service, took) = whole.start(&program).await;
        starts.add_ms(took);
        if run % 4 == 3 {
            tokio::time::sleep(SETTLED).await;
            idle = idle.max(resident(service.id()));
        }
        service.stop(Duration::from_secs(20)).await.exited(0);
    }

    let mut figures = Figures::part("core", "process", 0, runs);
    let case = "Postgres, Redis, Kafka, TLS";
    let case = format!("{case} ({built})");
    figures.add(Row::new("start_to_ready_p50", &case, starts.median(), "ms").at_most(300.0));
    figures.add(Row::new("start_to_ready_worst", &case, starts.worst(), "ms"));
    figures.add(Row::new("idle_rss", format!("worst, {case}"), Some(idle), "MB").at_most(25.0));
    if let Some(every) = std::env::var_os("HAFNIUM_FIGURES_WHOLE") {
        let (service, _) = whole.start(Path::new(&every)).await;
        tokio::time::sleep(SETTLED).await;
        let held = resident(service.id());
        service.stop(Duration::from_secs(20)).await.exited(0);
        let case = "every client, TLS, OTLP, AWS and Vault";
        figures.add(Row::new("idle_rss", case, Some(held), "MB"));
    }
    for row in stripped_binaries().into_iter().chain(of_other_programs()) {
        figures.add(row);
    }
    println!("{figures}");
    figures.write().unwrap();
    assert!(
        starts.worst().unwrap() < 20_000.0 && idle < 500.0,
        "far from any target"
    );
}
