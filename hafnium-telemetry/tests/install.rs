//! Telemetry as a process has it: installed once, on its own standard output. The test runs itself as that process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use hafnium_core::{Deadline, ServiceInfo};
use hafnium_telemetry::{Telemetry, TelemetryError, TelemetrySettings};

const CHILD: &str = "HAFNIUM_TEST_CHILD";

/// Not a test of its own: what the child process does.
#[test]
fn child() {
    let Ok(mode) = std::env::var(CHILD) else { return };
    let service = ServiceInfo::new("install-test", "1.2.3");
    let settings = TelemetrySettings::default();
    let telemetry = Telemetry::install(&settings, &service).unwrap();
    let again = Telemetry::install(&settings, &service);
    assert!(matches!(again, Err(TelemetryError::AlreadyInstalled)));
    tracing::info!("installed");
    if mode == "closed" {
        // Long after the reader went away, and more than a pipe holds.
        std::thread::sleep(Duration::from_millis(300));
        for count in 0..10_000 {
            tracing::info!(count, "into a closed pipe");
        }
    }
    let span = tracing::info_span!("risky");
    let thread = std::thread::spawn(move || {
        let _entered = span.enter();
        tracing::info!("in the span");
        panic!("something broke");
    });
    assert!(thread.join().is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stopped = runtime.block_on(telemetry.shutdown(Deadline::after(Duration::from_secs(3))));
    assert!(stopped.stragglers().is_empty());
    tracing::info!("the verdict");
    #[expect(
        clippy::disallowed_methods,
        reason = "as a process that ends without unwinding"
    )]
    std::process::exit(0);
}

fn start(mode: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, mode)
        .env("OTEL_SERVICE_NAME", "named-by-the-operator")
        .env("OTEL_UNHEARD_OF", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_process_logs_json_to_a_pipe_panics_included_and_loses_no_line_at_its_end() {
    let mut child = start("open");
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{text}{stderr}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        // The test harness writes its own lines, and no line feed before the first of ours.
        .filter_map(|line| serde_json::from_str(&line[line.find("{\"timestamp\"")?..]).ok())
        .collect();
    let with = |message: &str| {
        let found = lines
            .iter()
            .find(|line| line["message"].as_str().is_some_and(|m| m == message));
        found.unwrap_or_else(|| panic!("{message:?} in {text}"))
    };
    assert_eq!(with("installed")["service.name"], "named-by-the-operator");
    assert_eq!(
        with("an OTEL_ variable that is set has no effect here")["variable"],
        "OTEL_UNHEARD_OF"
    );
    let panic = with("panic: something broke");
    assert_eq!(panic["target"], "hafnium::panic");
    assert_eq!(panic["trace_id"], with("in the span")["trace_id"]);
    assert!(panic["trace_id"].is_string());
    assert!(
        panic["location"].as_str().unwrap().contains("install.rs"),
        "{panic}"
    );
    assert!(
        panic["backtrace"].as_str().unwrap().contains("install::child"),
        "{panic}"
    );
    // The hook that was there before is still called.
    assert!(stderr.contains("something broke"), "{stderr}");
    with("the verdict");
}

#[test]
fn a_process_whose_standard_output_is_closed_goes_on() {
    let mut child = start("closed");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("installed") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the child ended early");
    }
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
