//! The conformance kit on services that were broken on purpose: each fault turns its rows red, and no others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use hafnium_testkit::conformance::{Case, Conformance, Report, State};
use support::Launch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CASES: [Case; 4] = [Case::Start, Case::Probes, Case::Sigterm, Case::SecondSignal];

async fn broken(fault: &str) -> Report {
    Conformance::of(env!("CARGO_BIN_EXE_broken"))
        .variable("FAULT", fault)
        .only(CASES)
        .grace(Duration::from_secs(8))
        .run()
        .await
}

/// Whether the row that begins so is red.
#[track_caller]
fn is_red(report: &Report, what: &str) -> bool {
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.what.starts_with(what));
    let finding = finding.unwrap_or_else(|| panic!("no row {what:?}\n{report}"));
    finding.state != State::Passed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_all_by_hand_and_right_is_green() {
    let report = broken("").await;
    assert_eq!(report.red_cases(), [], "{report}");
    assert!(report.findings.len() >= 10, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_without_draining_fails_requests() {
    let report = broken("no-drain").await;
    for row in [
        "SIGTERM to not ready",
        "alive while it drains",
        "requests that failed, HTTP/1.1 fresh",
    ] {
        assert!(is_red(&report, row), "{row}\n{report}");
    }
    // Its exit code is the right one, and all was well before.
    for row in ["SIGTERM to the end", "exec to ready", "60 probes"] {
        assert!(!is_red(&report, row), "{row}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_readiness_ignores_the_drain_is_caught_by_that_row_alone() {
    let report = broken("ready-while-draining").await;
    let red: Vec<_> = report
        .red()
        .filter(|finding| finding.case == Case::Sigterm)
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(red, ["SIGTERM to not ready"], "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_sigterm_never_ends() {
    let report = broken("deaf").await;
    for row in ["SIGTERM to not ready", "SIGTERM to the end"] {
        assert!(is_red(&report, row), "{row}\n{report}");
    }
    // It goes on serving: that is what is wrong with it.
    assert!(
        !is_red(&report, "requests that failed, HTTP/1.1 kept"),
        "{report}"
    );
    assert!(report.red_cases().contains(&Case::SecondSignal), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_run_is_red_unless_a_reason_was_given() {
    let conformance = || {
        Conformance::of(env!("CARGO_BIN_EXE_conformance")).only([
            Case::Loss,
            Case::Reload,
            Case::Rotation,
            Case::Flush,
            Case::ExitCodes,
        ])
    };
    let report = conformance().run().await;
    assert_eq!(report.red_cases(), [Case::Loss], "{report}");
    let report = conformance()
        .not_applicable(Case::Loss, "it depends on nothing")
        .run()
        .await;
    assert_eq!(report.red_cases(), [], "{report}");
    assert!(report.to_string().contains("it depends on nothing"), "{report}");
}

#[tokio::test]
async fn the_log_filter_of_a_running_service_is_changed_and_goes_back() {
    let mut service = Launch::new(env!("CARGO_BIN_EXE_conformance")).start();
    service.ready(Duration::from_secs(20)).await;
    let put = async |target: &str, body: &str| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", service.admin))
            .await
            .unwrap();
        let request = format!(
            "PUT {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = put("/loglevel?for=1s", "off").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let before = service.log().len();
    service.ask(support::http::get("/")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(service.log().len(), before, "nothing is logged");
    let back = service
        .logged("the filter to be back", Duration::from_secs(10), |line| {
            line["message"] == "the log filter is back"
        })
        .await;
    assert_eq!(back["because"], "its time is over");
    let refused = put("/loglevel", "no such filter").await;
    assert!(
        refused.starts_with("HTTP/1.1 400") && refused.contains("accepted are a level"),
        "{refused}"
    );
}
