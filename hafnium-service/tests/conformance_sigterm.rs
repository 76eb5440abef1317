//! What every service does when it is told to stop: a real process, real connections, real signals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hafnium_testkit::load::{Kind, Load, Pace};
use support::http::get;
use support::{Launch, Service, Signal};
use tokio::time::Instant;

const START: Duration = Duration::from_secs(20);

fn conformance(case: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request_and_ends_with_0() {
    let mut service = conformance("")
        .variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "2s")
        .start();
    service.ready(START).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    let loads = [(Kind::Http1Kept, 4), (Kind::Http1Fresh, 2)]
        .map(|(kind, clients)| Load::start(kind, address, Pace::of(clients)));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before: u64 = loads.iter().map(Load::answered).sum();
    assert!(before > 50, "the load never got going: {before} answers");

    let told = Instant::now();
    service.signal(Signal::TERM);
    let refused = service.probes("/readyz", 503, Duration::from_secs(1)).await;
    assert!(refused.body.contains("lifecycle"), "{refused:?}");
    loads.iter().for_each(|load| load.enter("draining"));
    assert_eq!(service.probe("/livez").await.status, 200);
    // What a load balancer sees that knows only the application listener.
    assert_eq!(service.ask(get("/ready")).await.status, 503);
    assert_eq!(service.ask(get("/health")).await.status, 503);

    // Asked while it is still served, answered after the listener closed.
    tokio::time::sleep_until(told + Duration::from_millis(1300)).await;
    let slow = tokio::spawn(get("/slow/1500").send(service.port));
    tokio::time::sleep_until(told + Duration::from_millis(1700)).await;
    let mut tallies = Vec::new();
    for load in loads {
        tallies.push(load.finish().await);
    }
    assert!(
        told.elapsed() < Duration::from_secs(2),
        "the machine is too slow for this test"
    );

    tokio::time::sleep_until(told + Duration::from_millis(2400)).await;
    let closed = get("/").send(service.port).await.unwrap_err();
    assert_eq!(closed.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(
        service.probe("/livez").await.status,
        200,
        "while a request is under way"
    );
    assert_eq!(service.probe("/readyz").await.status, 503);
    let slow = slow.await.unwrap().unwrap();
    assert_eq!((slow.status, slow.body.as_str()), (200, "done\n"));

    let ended = service.end(Duration::from_secs(10)).await;
    assert_eq!(ended.exited(0), "");
    let took = told.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(6)).contains(&took),
        "{took:?}"
    );
    let messages: Vec<_> = ended
        .log()
        .iter()
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("drain complete in ")),
        "{messages:?}"
    );

    for tally in &tallies {
        println!("{tally}");
        assert!(tally.failed.is_empty(), "{tally}");
        let draining = tally.phase("draining").unwrap();
        assert!(draining.sent > 50, "{tally}");
        assert_eq!(
            draining.told_to_close, draining.ok,
            "every answer of a drain says that it is the last: {tally}"
        );
    }
}

async fn draining_forever() -> Service {
    let mut service = conformance("")
        .variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "5s")
        .start();
    service.ready(START).await;
    service
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut service = draining_forever().await;
        service.signal(signal);
        service.probes("/readyz", 503, Duration::from_secs(2)).await;
        service.signal(signal);
        let ended = service.end(Duration::from_secs(2)).await;
        ended.exited(code);
    }
}

#[tokio::test]
async fn sigint_and_sigquit_drain_as_sigterm_does() {
    for signal in [Signal::INT, Signal::QUIT] {
        let mut service = conformance("").start();
        service.ready(START).await;
        service.signal(signal);
        assert_eq!(service.end(Duration::from_secs(5)).await.exited(0), "");
    }
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_named_and_the_exit_code_is_75() {
    let mut service = conformance("")
        .variable("HAFNIUM__SHUTDOWN__DRAIN", "600ms")
        .start();
    service.ready(START).await;
    let straggler = tokio::spawn(get("/slow/20000").send(service.port));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = service.stop(Duration::from_secs(5)).await;
    let reason = ended.exited(75);
    assert!(reason.starts_with("drain incomplete in "), "{reason}");
    assert!(reason.contains("GET /slow/{milliseconds} for "), "{reason}");
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
    straggler.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_stop_during_the_start_is_clean_and_quick() {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    let url = format!("postgres://risk:none@127.0.0.1:{closed}/risk");
    let mut service = conformance("database").variable("DATABASE_URL", url).start();
    service.probes("/startupz", 503, START).await;
    let ended = service.stop(Duration::from_secs(5)).await;
    assert_eq!(ended.exited(0), "");
}

#[tokio::test]
async fn a_set_up_that_can_not_work_says_why() {
    for (case, code, reason) in [
        (
            "unhandled-consumer",
            78,
            "consumer \"payments\" is declared and has no handler",
        ),
        (
            "misspelled-consumer",
            78,
            "consumer \"paymnets\", which is not declared; declared: payments",
        ),
        (
            "misspelled-redis",
            78,
            "redis \"velocty\" is not declared; declared: none",
        ),
        ("failing-set-up", 1, "set-up failed: the model can't be read"),
    ] {
        let ended = conformance(case).finish(START).await;
        let said = ended.exited(code);
        assert!(said.contains(reason), "{case}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "one line of reason: {said}");
    }
}
