//! The conformance kit on services that were broken on purpose: each fault turns its rows red, and no others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::time::Duration;

use hafnium_testkit::conformance::{Case, Conformance, Dependency, Report, State};
use support::Launch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const STOPS: [Case; 2] = [Case::Sigterm, Case::SecondSignal];
const CASES: [Case; 4] = [Case::Start, Case::Probes, Case::Sigterm, Case::SecondSignal];
const MARKER: &str = "file.marker";

/// The service with that fault, put through those cases. It depends on a file.
async fn broken_in(fault: &str, cases: &[Case]) -> Report {
    let home = tempfile::tempdir().unwrap();
    let marker = home.path().join("marker");
    std::fs::write(&marker, "").unwrap();
    let dependency = Dependency::with(
        MARKER,
        async || std::fs::remove_file(&marker),
        async || std::fs::write(&marker, ""),
    );
    depending(fault, cases, &marker, dependency).run().await
}

fn depending<'a>(fault: &str, cases: &[Case], marker: &Path, dependency: Dependency<'a>) -> Conformance<'a> {
    Conformance::of(env!("CARGO_BIN_EXE_broken"))
        .variable("FAULT", fault)
        .variable("DEPENDENCY", marker.display().to_string())
        .route("/")
        .slow_route("/slow")
        .dependency(dependency.noticed_within(Duration::from_secs(2), Duration::from_secs(2)))
        .only(cases.iter().copied())
        .ready_within(Duration::from_secs(4))
        .grace(Duration::from_secs(8))
}

async fn broken(fault: &str) -> Report {
    broken_in(fault, &CASES).await
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
    let report = broken_in("", &Case::ALL).await;
    assert_eq!(report.red_cases(), [], "{report}");
    assert!(report.findings.len() >= 25, "{report}");
    let left_out = report
        .findings
        .iter()
        .filter(|finding| finding.state != State::Passed);
    assert_eq!(left_out.count(), 0, "{report}");
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
async fn one_that_cuts_what_is_under_way_at_the_close_is_caught_by_the_slow_request() {
    let report = broken_in("cut", &STOPS).await;
    assert!(
        is_red(&report, "requests that failed, under way at the close"),
        "{report}"
    );
    for row in [
        "SIGTERM to not ready",
        "alive while it drains",
        "requests that failed, HTTP/1.1 kept",
        "requests that failed, HTTP/1.1 fresh",
        "SIGTERM to the end",
    ] {
        assert!(!is_red(&report, row), "{row}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_running_service_turns_its_rows_red_and_no_others() {
    let faults: [(&str, Case, &[&str]); 9] = [
        ("never-ready", Case::Start, &["exec to ready"]),
        ("slow-probe", Case::Probes, &["60 probes"]),
        (
            "loss-unseen",
            Case::Loss,
            &["the loss of", "alive while", "the return of"],
        ),
        ("dies-with-dependency", Case::Loss, &["alive while"]),
        (
            "reload-ignored",
            Case::Reload,
            &["a changed file", "SIGHUP: a changed file"],
        ),
        ("old-token-stays", Case::Rotation, &["the secret before"]),
        ("old-token-breaks", Case::Rotation, &["the secret before"]),
        ("no-flush", Case::Flush, &["one worker: the span"]),
        ("many-workers", Case::Flush, &["one worker: the span"]),
    ];
    for (fault, case, rows) in faults {
        turns_red(fault, case, rows).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_keeps_the_first_secret_for_ever_is_red_in_both_rows() {
    let rows = ["a swapped secret", "the secret before"];
    turns_red("rotation-ignored", Case::Rotation, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_the_right_ones_and_name_what_is_wrong() {
    let all = ["2 for", "78 for", "69 while"];
    turns_red("wrong-exit-code", Case::ExitCodes, &all).await;
    turns_red("unnamed-reason", Case::ExitCodes, &all).await;
}

/// The fault turns those rows of the case red, and no others.
async fn turns_red(fault: &str, case: Case, rows: &[&str]) {
    let report = broken_in(fault, &[case]).await;
    let red: Vec<_> = report.red().map(|finding| finding.what.as_str()).collect();
    assert_eq!(red.len(), rows.len(), "{fault}\n{report}");
    for (red, row) in red.iter().zip(rows) {
        assert!(red.starts_with(row), "{fault}: {red}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_is_half_done_is_healed_and_one_that_stays_is_red() {
    let home = tempfile::tempdir().unwrap();
    let marker = home.path().join("marker");
    std::fs::write(&marker, "").unwrap();
    let half = Dependency::with(
        MARKER,
        async || {
            std::fs::remove_file(&marker).unwrap();
            Err::<(), _>("half of it")
        },
        async || std::fs::write(&marker, ""),
    );
    let report = depending("", &[Case::Loss], &marker, half).run().await;
    assert!(is_red(&report, "the loss of"), "{report}");
    assert!(marker.exists(), "{report}");

    let stays = Dependency::with(
        MARKER,
        async || std::fs::remove_file(&marker),
        async || Err::<(), _>("it is gone"),
    );
    let report = depending("", &[Case::ExitCodes], &marker, stays).run().await;
    assert!(is_red(&report, "69 while"), "{report}");
    assert!(
        report.to_string().contains("was not healed: it is gone"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_request_that_failed_proves_nothing_of_the_flush() {
    let report = Conformance::of(env!("CARGO_BIN_EXE_broken"))
        .route("/none-such")
        .only([Case::Flush])
        .run()
        .await;
    assert!(is_red(&report, "one worker: the span"), "{report}");
    assert!(report.to_string().contains("/none-such is 404"), "{report}");
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
async fn the_page_of_a_running_service_tells_the_age_of_secrets_and_shows_none() {
    let launch = Launch::new(env!("CARGO_BIN_EXE_conformance"));
    let mut service = launch
        .variable("HAFNIUM__ADMIN__TOKEN", "canary-3fd1-token")
        .start();
    service.ready(Duration::from_secs(20)).await;
    let page = service.probe("/").await;
    assert_eq!(page.status, 200);
    let secrets = page.body.split("id=\"secrets\"").nth(1).unwrap();
    let secrets = secrets.split("</section>").next().unwrap();
    for told in ["admin.token", "current", "env:HAFNIUM__ADMIN__TOKEN"] {
        assert!(secrets.contains(told), "{told}: {secrets}");
    }
    for path in ["/", "/config", "/topology", "/info", "/report", "/metrics"] {
        let answer = service.probe(path).await;
        assert!(!answer.body.contains("canary-3fd1-token"), "{path}");
    }
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
