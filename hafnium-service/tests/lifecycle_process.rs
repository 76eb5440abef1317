//! The life of a service as seen from outside: what a kubelet, a terminal and an orchestrator get from a real process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use hafnium_testkit::otlp::Collector;
use support::http::get;
use support::{Launch, Service, Signal, until};
use tokio::time::Instant;

const START: Duration = Duration::from_secs(20);
/// What a kubelet allows a probe.
const KUBELET: Duration = Duration::from_secs(1);

fn conformance(case: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case)
}

/// A service with one worker, which one request blocks for so long.
async fn blocked(launch: Launch, block: Duration) -> (Service, tokio::task::JoinHandle<()>) {
    let mut service = launch.variable("HAFNIUM__RUNTIME__WORKERS", "1").start();
    service.ready(START).await;
    let request = get(format!("/block/{}", block.as_millis())).send(service.port);
    let request = tokio::spawn(async move {
        let _ = request.await;
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    (service, request)
}

/// The status of a probe, answered as quickly as a kubelet wants it.
async fn probe(service: &Service, path: &str) -> (u16, String) {
    let begun = Instant::now();
    let answer = service.probe(path).await;
    assert!(begun.elapsed() < KUBELET, "{path}: {:?}", begun.elapsed());
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_blocked_runtime_fails_livez_as_a_kubelet_sees_it_and_recovers() {
    let launch = conformance("").variable("HAFNIUM__HEALTH__RUNTIME_STALL", "1s");
    let (service, request) = blocked(launch, Duration::from_secs(4)).await;
    let (status, body) = probe(&service, "/livez").await;
    assert_eq!(status, 200, "not stalled for long enough yet: {body}");
    let body = until("livez fails", Duration::from_secs(3), async || {
        match probe(&service, "/livez").await {
            (503, body) => Ok(body),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(body.contains("[-]runtime failed: silent for "), "{body}");
    // The others answer too: from memory, on the operator's thread.
    assert_eq!(probe(&service, "/startupz").await.0, 200);
    assert_eq!(probe(&service, "/metrics").await.0, 200);
    request.await.unwrap();
    until("livez recovers", Duration::from_secs(5), async || {
        match probe(&service, "/livez").await {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    service.stop(Duration::from_secs(5)).await.exited(0);
}

#[tokio::test]
async fn a_check_that_blocks_every_worker_is_found_late_and_stalls_the_runtime() {
    let mut service = conformance("blocking-check")
        .variable("HAFNIUM__RUNTIME__WORKERS", "1")
        .variable("HAFNIUM__HEALTH__RUNTIME_STALL", "1s")
        .start();
    let late = service.probes("/readyz/bad", 503, START).await;
    let reason = "no answer within 200ms";
    let late = until(reason, Duration::from_secs(5), async || {
        let body = service.probe("/readyz/bad").await.body;
        if body.contains(reason) {
            Ok(body)
        } else {
            Err(format!("{late:?} {body}"))
        }
    })
    .await;
    assert!(late.starts_with("[-]bad failed: "), "{late}");
    let stalled = service.probes("/livez", 503, Duration::from_secs(5)).await;
    assert!(stalled.body.contains("[-]runtime failed"), "{stalled:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_while_the_runtime_is_blocked() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (service, _request) = blocked(conformance(""), Duration::from_secs(30)).await;
        service.signal(signal);
        service
            .logged("the first signal", Duration::from_secs(3), |line| {
                line["message"].as_str().unwrap().contains("stop asked for")
            })
            .await;
        service.signal(signal);
        service.end(Duration::from_secs(2)).await.exited(code);
    }
}

/// Phases that add up to 1.5 s.
fn brief(launch: Launch) -> Launch {
    launch
        .variable("HAFNIUM__SHUTDOWN__DRAIN", "600ms")
        .variable("HAFNIUM__SHUTDOWN__TASKS", "300ms")
        .variable("HAFNIUM__SHUTDOWN__COMPONENTS", "300ms")
        .variable("HAFNIUM__SHUTDOWN__FLUSH", "300ms")
}

#[tokio::test]
async fn a_blocked_runtime_does_not_keep_the_process_past_the_deadline_of_its_stop() {
    let (service, _request) = blocked(brief(conformance("")), Duration::from_secs(60)).await;
    let ended = service.stop(Duration::from_secs(10)).await;
    let reason = ended.exited(75);
    assert!(
        reason.starts_with("drain incomplete: no end 1.5s after"),
        "{reason}"
    );
    assert_eq!(reason.trim().lines().count(), 1, "{reason}");
    assert!(ended.took < Duration::from_secs(6), "{:?}", ended.took);
}

/// Asks for what blocks the operator's thread, once it does.
async fn block_the_operator(service: &mut Service) {
    service.ready(START).await;
    let request = get("/topology").send(service.admin);
    let answered = tokio::time::timeout(Duration::from_millis(500), request).await;
    assert!(answered.is_err(), "{answered:?}");
}

#[tokio::test]
async fn a_blocked_operators_thread_keeps_no_stop_that_is_done() {
    let mut service = conformance("blocking-look").start();
    block_the_operator(&mut service).await;
    let ended = service.stop(Duration::from_secs(10)).await;
    ended.exited(0);
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
}

#[tokio::test]
async fn what_blocks_after_the_service_has_stopped_does_not_keep_the_process_either() {
    let mut service = brief(conformance("blocking-after-the-stop"))
        .variable("HAFNIUM__RUNTIME__WORKERS", "1")
        .start();
    block_the_operator(&mut service).await;
    let ended = service.stop(Duration::from_secs(10)).await;
    let reason = ended.exited(75);
    assert!(
        reason.starts_with("drain incomplete: no end 1.5s after"),
        "{reason}"
    );
    assert!(ended.took < Duration::from_secs(6), "{:?}", ended.took);
}

/// A pipe that takes no byte more, and what keeps it open.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[tokio::test]
async fn a_reason_that_nobody_reads_keeps_no_process_and_is_in_the_termination_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("termination-log");
    std::fs::write(&log, "").unwrap();
    let unread = |case: &str| {
        let (reader, writer) = full_pipe();
        let launch = conformance(case).variable("HAFNIUM_TERMINATION_LOG", log.to_str().unwrap());
        (launch.stderr(writer), reader)
    };
    let (launch, _reader) = unread("failing-set-up");
    launch.finish(START).await.exited(1);
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.starts_with("set-up failed: "), "{told}");

    let (launch, _reader) = unread("");
    let (service, _request) = blocked(brief(launch), Duration::from_secs(60)).await;
    service.stop(Duration::from_secs(10)).await.exited(75);
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.starts_with("drain incomplete: "), "{told}");
}

#[tokio::test]
async fn a_panic_of_a_task_in_the_stop_is_told_and_ends_with_1() {
    let mut service = conformance("panicking-task-in-the-stop")
        .variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "500ms")
        .start();
    service.ready(START).await;
    let ended = service.stop(Duration::from_secs(10)).await;
    ended.exited(1);
    last("task shaky panicked: as the test asks", &ended.stderr);
}

#[tokio::test]
async fn a_set_up_that_blocks_its_thread_neither_silences_the_probes_nor_outlasts_a_stop() {
    let mut service = brief(conformance("blocking-set-up")).start();
    service.probes("/startupz", 503, START).await;
    until("the set-up is waited for", START, async || {
        let body = service.probe("/startupz?verbose").await.body;
        if body.contains("[-]set-up failed: waiting for ") {
            Ok(())
        } else {
            Err(body)
        }
    })
    .await;
    assert_eq!(probe(&service, "/livez").await.0, 200);
    let ended = service.stop(Duration::from_secs(10)).await;
    assert!(ended.exited(75).starts_with("drain incomplete: "), "{ended:?}");
}

#[tokio::test]
async fn a_set_up_past_the_start_deadline_ends_the_start_and_startupz_says_what_it_waits_for() {
    let mut service = conformance("slow-set-up")
        .variable("HAFNIUM__START__DEADLINE", "2s")
        .start();
    service.probes("/startupz", 503, START).await;
    let waiting = until("the set-up is named", START, async || {
        let body = service.probe("/startupz?verbose").await.body;
        if body.contains("[-]set-up failed: waiting for ") {
            Ok(body)
        } else {
            Err(body)
        }
    })
    .await;
    assert!(waiting.ends_with("startupz check failed\n"), "{waiting}");
    let ended = service.end(START).await;
    let reason = ended.exited(1);
    assert!(reason.contains("the service's own set-up"), "{reason}");
}

#[tokio::test]
async fn a_blocking_task_is_named_and_does_not_keep_the_process() {
    let mut service = brief(conformance("blocking-task")).start();
    service.ready(START).await;
    let ended = service.stop(Duration::from_secs(10)).await;
    let reason = ended.exited(75);
    assert!(
        reason.contains("not ended: compress (blocking) [tasks]"),
        "{reason}"
    );
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
}

#[tokio::test]
async fn a_panic_of_a_task_is_fatal_and_drains_unless_the_task_says_it_restarts() {
    let mut service = conformance("panicking-task").start();
    service.ready(START).await;
    let ended = service.end(START).await;
    assert_eq!(
        ended.exited(1).trim(),
        last("task shaky panicked: as the test asks", &ended.stderr)
    );
    let drained = ended.log().iter().any(|line| {
        let message = line["message"].as_str().unwrap();
        message.starts_with("drain complete in ")
    });
    assert!(drained, "{}", ended.stdout);

    let mut service = conformance("restarting-task").start();
    service.ready(START).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = service.probe("/metrics").await.body;
    let restarts = metrics
        .lines()
        .find(|line| line.starts_with("hafnium_task_restarts_total") && line.contains("task=\"shaky\""));
    assert!(restarts.is_some_and(|line| line.ends_with(" 2")), "{metrics}");
    service.stop(Duration::from_secs(5)).await.exited(0);
}

#[tokio::test]
async fn a_panic_of_a_task_ends_a_start_that_waits_at_once() {
    let ended = conformance("panicking-task-in-the-start").finish(START).await;
    ended.exited(1);
    last("task shaky panicked: as the test asks", &ended.stderr);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
}

#[tokio::test]
async fn the_operator_listener_answers_until_the_last_phase_is_over() {
    let mut service = conformance("blocking-task")
        .variable("HAFNIUM__SHUTDOWN__TASKS", "2s")
        .start();
    service.ready(START).await;
    service.signal(Signal::TERM);
    until("the listener is closed", Duration::from_secs(1), async || {
        let closed = get("/").send(service.port).await;
        closed.err().map(drop).ok_or_else(|| "it answers".to_owned())
    })
    .await;
    // In the phase `tasks` by now: no request is under way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(probe(&service, "/livez").await.0, 200);
    assert_eq!(probe(&service, "/readyz").await.0, 503);
    assert_eq!(probe(&service, "/metrics").await.0, 200);
    service.end(Duration::from_secs(5)).await.exited(75);
}

#[tokio::test]
async fn probes_leave_no_trace_in_logs_and_request_metrics() {
    let mut service = conformance("")
        .variable("HAFNIUM__HEALTH__PATHS__APPLICATION_READY", "/ready,/in-service")
        .start();
    service.ready(START).await;
    for path in ["/health", "/ready", "/in-service", "/"] {
        assert_eq!(service.ask(get(path)).await.status, 200, "{path}");
    }
    let request = service.logged("the request", Duration::from_secs(5), |line| {
        line.to_string().contains("\"/\"")
    });
    request.await;
    let metrics = service.probe("/metrics").await.body;
    for path in [
        "/health",
        "/ready",
        "/in-service",
        "/livez",
        "/readyz",
        "/metrics",
    ] {
        let quoted = format!("\"{path}\"");
        assert!(!metrics.contains(&quoted), "{path}: {metrics}");
        let logged: Vec<_> = service
            .log()
            .into_iter()
            .filter(|line| line.to_string().contains(&quoted))
            .collect();
        assert!(logged.is_empty(), "{logged:?}");
    }
    service.stop(Duration::from_secs(5)).await.exited(0);
}

/// The whole of stderr but for the lines of the panic hook, which are not ours.
fn last<'a>(expected: &'a str, stderr: &'a str) -> &'a str {
    let ours = stderr.trim().lines().last().unwrap();
    assert_eq!(ours, expected, "{stderr}");
    stderr.trim()
}

#[tokio::test]
async fn a_panic_in_main_ends_with_101_and_is_told_where_the_platform_looks() {
    for case in ["panicking-set-up", "panicking-main"] {
        let ended = conformance(case).finish(START).await;
        assert!(ended.exited(101).contains("as the test asks"), "{ended:?}");
    }
    let ended = conformance("panicking-set-up").finish(START).await;
    assert_eq!(
        ended.stderr.trim().lines().last(),
        Some("the set-up panicked: as the test asks")
    );
    let ended = conformance("panicking-main").finish(START).await;
    assert_eq!(
        ended.stderr.trim().lines().last(),
        Some("main panicked: as the test asks")
    );
}

/// The case, its exit code, how its reason begins, and its variables.
type Case = (&'static str, i32, &'static str, Vec<(&'static str, String)>);

#[tokio::test]
async fn the_reason_of_each_exit_code_is_one_line_in_the_termination_log() {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    let cases: [Case; 6] = [
        ("usage", 2, "error: unrecognized subcommand '***'", vec![]),
        ("failing-set-up", 1, "set-up failed: ", vec![]),
        ("panicking-set-up", 101, "the set-up panicked: ", vec![]),
        ("panicking-main", 101, "main panicked: as the test asks", vec![]),
        (
            "cache",
            69,
            "redis.velocity: required dependency is unavailable: ",
            vec![
                ("REDIS_URL", format!("redis://127.0.0.1:{closed}")),
                ("HAFNIUM__START__DEADLINE", "1s".to_owned()),
            ],
        ),
        ("", 78, "", vec![("HAFNIUM__HTTP__PORTT", "1".to_owned())]),
    ];
    for (case, code, begins, variables) in cases {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("termination-log");
        std::fs::write(
            &log,
            "left by an earlier run, and longer than what comes now ".repeat(200),
        )
        .unwrap();
        let mut launch = conformance(case).variable("HAFNIUM_TERMINATION_LOG", log.to_str().unwrap());
        for (name, value) in variables {
            launch = launch.variable(name, value);
        }
        if code == 2 {
            launch = launch.variable("CONFORMANCE_CASE", "").argument(case);
        }
        launch.finish(START).await.exited(code);
        let told = std::fs::read_to_string(&log).unwrap();
        let reason = told.lines().next().unwrap();
        assert!(reason.starts_with(begins) && !reason.is_empty(), "{case}: {told}");
        assert!(told.len() <= 4096, "{case}: {}", told.len());
    }
}

#[tokio::test]
async fn the_time_from_the_start_to_ready_is_logged_and_a_metric() {
    let mut service = conformance("").start();
    service.ready(START).await;
    let ready = service
        .logged("ready", START, |line| line["message"] == "ready")
        .await;
    assert!(ready.to_string().contains("took"), "{ready}");
    let metrics = service.probe("/metrics").await.body;
    let took = metrics
        .lines()
        .find(|line| line.starts_with("hafnium_start_duration_seconds"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(
        took.is_some_and(|took| (0.001..20.0).contains(&took)),
        "{took:?}\n{metrics}"
    );
    service.stop(Duration::from_secs(5)).await.exited(0);
}

#[tokio::test]
async fn other_paths_of_the_probes_are_configured_and_a_path_that_is_taken_is_refused() {
    let mut service = conformance("")
        .variable("HAFNIUM__HEALTH__PATHS__LIVEZ", "/healthz,/alive")
        .variable("HAFNIUM__HEALTH__PATHS__APPLICATION_READY", "/in-service")
        .file("hafnium.toml", "[health.paths]\napplication_health = []\n")
        .start();
    service.ready(START).await;
    for path in ["/healthz?verbose", "/alive"] {
        assert_eq!(service.probe(path).await.status, 200, "{path}");
    }
    assert_eq!(service.ask(get("/in-service")).await.status, 200);
    for path in ["/health", "/ready"] {
        assert_eq!(service.ask(get(path)).await.status, 404, "{path}");
    }
    service.stop(Duration::from_secs(5)).await.exited(0);

    let refused = conformance("")
        .variable("HAFNIUM__HEALTH__PATHS__LIVEZ", "/metrics")
        .finish(START)
        .await;
    let report = refused.exited(78);
    assert!(
        report.contains("health.paths.livez (HAFNIUM__HEALTH__PATHS__LIVEZ): \"/metrics\" is taken"),
        "{report}"
    );
}

#[tokio::test]
async fn where_the_service_runs_and_what_it_is_trusted_with_goes_with_all_that_it_exports() {
    let collector = Collector::start().await.unwrap();
    let mut service = conformance("")
        .variable("HAFNIUM__REGION", "eu-central-7")
        .variable("HAFNIUM__ZONE", "eu-central-7b")
        .variable("HAFNIUM__PRIVACY_TIER", "confidential")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .start();
    service.ready(START).await;
    service.stop(START).await.exited(0);
    for attribute in [
        "deployment.environment.name",
        "staging",
        "cloud.region",
        "eu-central-7",
        "cloud.availability_zone",
        "eu-central-7b",
        "hafnium.privacy_tier",
        "confidential",
    ] {
        assert!(
            collector.holds(attribute.as_bytes()),
            "{attribute} is not exported"
        );
    }
}

#[tokio::test]
async fn a_check_that_readiness_requires_counts_and_the_commit_is_told() {
    let mut service = conformance("")
        .variable("HAFNIUM__HEALTH__READY_REQUIRES", "postgres.ledger")
        .start();
    service.probes("/startupz", 200, START).await;
    let readiness = service.probe("/readyz?verbose").await;
    assert_eq!(readiness.status, 503);
    assert!(
        readiness
            .body
            .contains("listed in health.ready_requires, but no such check is registered"),
        "{readiness:?}"
    );
    let info = service.probe("/info").await;
    assert!(info.body.contains("\"0123abc\""), "{info:?}");
    service.stop(START).await.exited(0);
}
