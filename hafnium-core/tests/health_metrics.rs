//! What health, lifecycle and the application listener record, read back as a scraper does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod recorded;

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hafnium_core::health::{Check, Registry, Status};
use hafnium_core::http::{HttpSettings, envelope};
use hafnium_core::lifecycle::{Lifecycle, State, record};
use hafnium_core::tasks::{Every, Restart, Tasks};

use recorded::Recorded;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

#[tokio::test(start_paused = true)]
async fn health_records_status_and_duration_per_check() {
    let recorded = Recorded::new();
    let (registry, tasks) = (Registry::new(), Tasks::new());
    registry.run(&tasks, &recorded.metrics);
    let _pool = registry.register(Check::own("pool"), || async { Status::Up });
    let _secrets = registry.register(Check::own("secrets"), || async {
        Status::Degraded("stale".into())
    });
    let _ledger = registry.register(Check::shared("ledger"), || async {
        Status::Down("refused".into())
    });
    sleep(Duration::from_millis(1)).await;
    let status = |check: &str| recorded.value("hafnium_health_status", &format!("check=\"{check}\""));
    assert_eq!(status("pool").as_deref(), Some("1"));
    assert_eq!(status("secrets").as_deref(), Some("0.5"));
    assert_eq!(status("ledger").as_deref(), Some("0"));
    let runs = recorded.value("hafnium_health_check_duration_seconds_count", "check=\"pool\"");
    assert_eq!(runs.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn lifecycle_records_its_state_and_the_time_to_ready() {
    let recorded = Recorded::new();
    let (lifecycle, tasks) = (Lifecycle::new(), Tasks::new());
    record(lifecycle.watch(), Instant::now(), &tasks, &recorded.metrics);
    let state = |name: &str| recorded.value("hafnium_lifecycle_state", &format!("state=\"{name}\""));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        (state("starting").as_deref(), state("ready").as_deref()),
        (Some("1"), Some("0"))
    );
    lifecycle.advance(State::Ready);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        (state("starting").as_deref(), state("ready").as_deref()),
        (Some("0"), Some("1"))
    );
    assert_eq!(
        recorded.value("hafnium_start_duration_seconds", "").as_deref(),
        Some("3")
    );
    lifecycle.advance(State::Stopping);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        (state("ready").as_deref(), state("stopping").as_deref()),
        (Some("0"), Some("1"))
    );
}

async fn panics() -> &'static str {
    panic!("as the test asks")
}

#[tokio::test]
async fn a_panic_in_a_handler_is_counted() {
    let recorded = Recorded::new();
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    let router = envelope(
        Router::new().route("/", get(panics)),
        &settings,
        &recorded.context(),
    );
    let request = http::Request::builder()
        .uri("/")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status().as_u16(), 500);
    assert_eq!(
        recorded.value("hafnium_http_panics_total", "").as_deref(),
        Some("1")
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_shed_is_counted_by_why() {
    let recorded = Recorded::new();
    let mut settings = HttpSettings::default();
    settings.max_concurrent_requests = 1;
    settings.queue_timeout = Duration::from_millis(100).into();
    let slow = get(|| async {
        sleep(Duration::from_secs(1)).await;
        "done"
    });
    let router = envelope(Router::new().route("/", slow), &settings, &recorded.context());
    let ask = || {
        let request = http::Request::builder().uri("/").body(axum::body::Body::empty());
        let router = router.clone();
        tokio::spawn(async move { router.oneshot(request.unwrap()).await.unwrap().status().as_u16() })
    };
    // One runs, one waits in vain, and one finds the queue full.
    let asked = [ask(), ask(), ask()];
    let mut answers = Vec::new();
    for one in asked {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answers, [200, 503, 503]);
    for reason in ["queue_time", "queue_full"] {
        let counted = recorded.value("hafnium_http_shed_total", &format!("reason=\"{reason}\""));
        assert_eq!(counted.as_deref(), Some("1"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_record_runs_failures_by_cause_restarts_skipped_ticks_and_how_many_exist() {
    let recorded = Recorded::new();
    let cx = recorded.context();
    let tasks = cx.tasks();
    let mut runs = 0;
    tasks.spawn_with("follower", Restart::on_failure(), move || {
        runs += 1;
        let run = runs;
        async move {
            assert!(run != 1, "as the test asks");
            if run == 2 {
                return Err("refused");
            }
            std::future::pending().await
        }
    });
    let mut ticks = 0;
    let every = Every::new(Duration::from_secs(10))
        .jitter(0.0)
        .timeout(Duration::from_secs(25));
    tasks.every("sweeper", every, move || {
        ticks += 1;
        sleep(Duration::from_secs(if ticks == 1 { 60 } else { 1 }))
    });
    sleep(Duration::from_secs(55)).await;
    let value = |name: &str, labels: &str| recorded.value(&format!("hafnium_task_{name}"), labels);
    // The run of 10 s was cut at 35 s, so that the ticks at 20 s and 30 s were skipped; those of 40 s and 50 s ran.
    for (name, labels, expected) in [
        ("runs_total", "task=\"follower\"", "2"),
        ("failures_total", "cause=\"panic\"", "1"),
        ("failures_total", "cause=\"error\"", "1"),
        ("failures_total", "cause=\"timeout\"", "1"),
        ("restarts_total", "task=\"follower\"", "2"),
        ("runs_total", "task=\"sweeper\"", "3"),
        ("skipped_total", "task=\"sweeper\"", "2"),
        ("running", "task=\"sweeper\"", "1"),
    ] {
        assert_eq!(value(name, labels).as_deref(), Some(expected), "{name} {labels}");
    }
    tasks.stop().await;
    assert_eq!(value("running", "task=\"sweeper\"").as_deref(), Some("0"));
}
