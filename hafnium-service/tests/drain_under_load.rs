//! A service that is told to stop while each kind of client sends: no request fails, and every client leaves in time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hafnium_testkit::Figures;
use hafnium_testkit::load::{Kind, Load, Pace, Tally};
use support::{Launch, Service, Signal};
use tokio::time::Instant;

const START: Duration = Duration::from_secs(20);
/// How long the service serves on after the signal.
const DRAIN_DELAY: Duration = Duration::from_secs(3);

/// Loads `service`, tells it to stop, and gives the account of each kind of client and how the service ended.
async fn drained_under_load(service: &mut Service) -> Vec<Tally> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    let loads: Vec<Load> = Kind::ALL
        .into_iter()
        .map(|kind| Load::start(kind, address, Pace::of(4)))
        .collect();
    tokio::time::sleep(Duration::from_millis(700)).await;

    // Requests are under way in the moment of the signal.
    loads.iter().for_each(|load| load.enter("during"));
    let told = Instant::now();
    service.signal(Signal::TERM);
    service.probes("/readyz", 503, Duration::from_secs(1)).await;
    tokio::time::sleep_until(told + Duration::from_secs(1)).await;
    loads.iter().for_each(|load| load.enter("after"));

    // The endpoint is removed: no new connections come, and those of HTTP/2 are in use until GOAWAY.
    tokio::time::sleep_until(told + Duration::from_secs(2)).await;
    loads.iter().for_each(Load::withdraw);
    assert!(
        told.elapsed() < DRAIN_DELAY,
        "the machine is too slow for this test"
    );
    tokio::time::sleep_until(told + DRAIN_DELAY + Duration::from_secs(1)).await;
    let mut tallies = Vec::new();
    for load in loads {
        tallies.push(load.finish().await);
    }
    tallies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_any_kind_of_client_fails_while_the_service_is_told_to_stop() {
    let mut service = Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", "")
        .variable(
            "HAFNIUM__SHUTDOWN__DRAIN_DELAY",
            format!("{}s", DRAIN_DELAY.as_secs()),
        )
        .start();
    service.ready(START).await;
    let tallies = drained_under_load(&mut service).await;
    let ended = service.end(Duration::from_secs(10)).await;
    assert_eq!(ended.exited(0), "");

    let mut figures = Figures::part("core", "sigterm", 0, 1);
    for tally in &tallies {
        println!("{tally}");
        figures.add(tally.failed_during_sigterm());
    }
    println!("{figures}");
    figures.write().unwrap();
    for tally in &tallies {
        assert!(tally.failed.is_empty(), "{tally}");
        for (name, least) in [("before", 100), ("during", 100), ("after", 50)] {
            let phase = tally.phase(name).unwrap();
            assert!(phase.sent > least && phase.ok == phase.sent, "{name}: {tally}");
        }
    }
    let [kept, _, multiplexed] = tallies.as_slice() else {
        panic!("one account per kind: {tallies:?}");
    };
    let after = kept.phase("after").unwrap();
    assert_eq!(
        after.told_to_close, after.ok,
        "every answer of a drain says that it is the last: {kept}"
    );
    // They stayed until GOAWAY, through the second in which no new connections came.
    assert!(
        multiplexed.phase("after").unwrap().sent > after.sent,
        "{multiplexed}"
    );
    assert_eq!(multiplexed.connections, 4, "{multiplexed}");
}
