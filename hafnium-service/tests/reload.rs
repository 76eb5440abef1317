//! Reload, seen from outside: SIGHUP and changed files, what changes at once, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::http::get;
use support::{Launch, Service, Signal, until};

const START: Duration = Duration::from_secs(20);

async fn started(toml: &str) -> Service {
    let mut service = Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .file("hafnium.toml", toml)
        .start();
    service.ready(START).await;
    service
}

/// Whether requests are logged, which the filter decides.
async fn logs_requests(service: &Service) -> bool {
    let before = requests(service);
    service.ask(get("/")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    requests(service) > before
}

fn requests(service: &Service) -> usize {
    let log = service.log();
    log.iter()
        .filter(|line| line.to_string().contains("\"http.route\""))
        .count()
}

#[tokio::test]
async fn a_hang_up_takes_over_the_log_filter_and_names_what_needs_a_restart() {
    let mut service = started("[telemetry]\nlog_filter = \"info\"\n").await;
    assert!(logs_requests(&service).await);
    service.write(
        "hafnium.toml",
        "[telemetry]\nlog_filter = \"info,hafnium::access=off\"\n\n[http]\nheader_limit = \"64KiB\"\n",
    );
    service.signal(Signal::HUP);
    service
        .logged("the restart", START, |line| {
            line["key"] == "http.header_limit" && line.to_string().contains("needs a restart")
        })
        .await;
    service
        .logged("the reload", START, |line| line["keys"] == "telemetry.log_filter")
        .await;
    until("a quiet access log", START, async || {
        match logs_requests(&service).await {
            true => Err("still logs requests".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    service.probes("/readyz", 200, START).await;
    service.stop(START).await.exited(0);
}

#[tokio::test]
async fn a_changed_file_is_taken_over_without_a_signal() {
    let service = started("reload.interval = \"100ms\"\n").await;
    service.write(
        "hafnium.toml",
        "reload.interval = \"100ms\"\ntelemetry.log_filter = \"debug\"\n",
    );
    service
        .logged("the reload", START, |line| line["keys"] == "telemetry.log_filter")
        .await;
    service.stop(START).await.exited(0);
}

#[tokio::test]
async fn a_refused_configuration_leaves_the_last_good_one_and_shows_in_health_and_metrics() {
    let mut service = started("telemetry.log_filter = \"info\"\n").await;
    service.write(
        "hafnium.toml",
        "telemetry.log_filter = \"info,[\"\nhttp.prt = 1\n",
    );
    service.signal(Signal::HUP);
    let refused = service
        .logged("the refusal", START, |line| {
            line.to_string().contains("last good configuration")
        })
        .await
        .to_string();
    for key in [
        "telemetry.log_filter (hafnium.toml:1)",
        "http.prt (hafnium.toml:2)",
    ] {
        assert!(refused.contains(key), "{refused}");
    }
    let report = until("degraded", START, async || {
        let report = service.probe("/report").await.json();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "config").unwrap();
        match check["health"] == "degraded" {
            true => Ok(check["reason"].to_string()),
            false => Err(check.to_string()),
        }
    })
    .await;
    assert!(report.contains("http.prt, telemetry.log_filter"), "{report}");
    let metrics = service.probe("/metrics").await.body;
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("hafnium_config_reloads") && line.contains("result=\"refused\""));
    assert!(counted.unwrap().ends_with(" 1"), "{counted:?}");
    assert!(metrics.contains("hafnium_config_age"), "{metrics}");
    service.probes("/readyz", 200, START).await;
    service.write("hafnium.toml", "");
    service.signal(Signal::HUP);
    until("mended", START, async || {
        let report = service.probe("/report").await.body;
        match report.contains("is refused") {
            true => Err(report),
            false => Ok(()),
        }
    })
    .await;
    service.stop(START).await.exited(0);
}
