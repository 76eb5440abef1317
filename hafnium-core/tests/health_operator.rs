//! The operator listener on a thread of its own: what it answers while the service's runtime is stuck.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]
#![allow(
    clippy::disallowed_methods,
    reason = "another runtime is blocked for real, which takes real time"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hafnium_core::admin::{Admin, AdminSettings, Operator, Probes};
use hafnium_core::health::{Check, Health, Status};
use hafnium_core::lifecycle::Progress;
use hafnium_core::{Context, Deadline, StartError};
use tokio::runtime::{Builder, Runtime};

/// What a kubelet allows.
const KUBELET: Duration = Duration::from_secs(1);

/// Asks as a kubelet does: a fresh connection, an answer within a second.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, KUBELET)?;
    stream.set_read_timeout(Some(KUBELET))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks until the answer holds `wanted`.
fn until(address: SocketAddr, path: &str, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = get(address, path).unwrap();
        if answer.contains(wanted) {
            return answer;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "no {wanted:?}: {answer}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn settings(port: u16) -> AdminSettings {
    let mut settings = AdminSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = port;
    settings
}

fn operator(runtime: &Runtime, cx: &Context) -> Result<Operator, StartError> {
    let admin = Admin::new(cx, Probes::new(cx, &Progress::new()), String::new);
    let _entered = runtime.enter();
    let checks = cx.health().schedule(cx.metrics(), runtime.handle().clone());
    Operator::start(&settings(0), admin.router(), cx, checks)
}

fn one_worker() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_blocked_runtime_fails_livez_after_its_limit_and_recovers() {
    let (runtime, cx) = (one_worker(), Context::standalone());
    {
        let _entered = runtime.enter();
        cx.health().watch_runtime(cx.tasks(), Duration::from_millis(500));
    }
    let operator = operator(&runtime, &cx).unwrap();
    let address = operator.local_addr();
    assert!(get(address, "/livez").unwrap().starts_with("HTTP/1.1 200"));
    runtime.spawn(async { thread::sleep(Duration::from_secs(2)) });
    thread::sleep(Duration::from_millis(150));
    let early = get(address, "/livez").unwrap();
    assert!(
        early.starts_with("HTTP/1.1 200"),
        "not silent for long enough: {early}"
    );
    let stalled = until(address, "/livez", "HTTP/1.1 503");
    assert!(stalled.contains("[-]runtime failed: silent for "), "{stalled}");
    until(address, "/livez", "HTTP/1.1 200");
    runtime.shutdown_background();
}

#[test]
fn a_check_that_blocks_every_worker_is_found_late() {
    let (runtime, cx) = (one_worker(), Context::standalone());
    let check = Check::own("bad")
        .timeout(Duration::from_millis(100))
        .period(Duration::from_millis(200));
    let _bad = cx.health().register(check, || async {
        thread::sleep(Duration::from_secs(3));
        Status::Up
    });
    let _good = cx.health().register(Check::own("good"), || async { Status::Up });
    let operator = operator(&runtime, &cx).unwrap();
    until(operator.local_addr(), "/readyz/bad", "no answer within 100ms");
    let bad = cx.health().report().checks[0].clone();
    assert_eq!(bad.health, Health::Down);
    runtime.shutdown_background();
}

#[test]
fn neither_a_shared_check_nor_an_own_one_ever_fails_livez() {
    let (runtime, cx) = (one_worker(), Context::standalone());
    let down = || async { Status::Down("refused".into()) };
    let _own = cx.health().register(Check::own("pool").thresholds(1, 1), down);
    let _shared = cx
        .health()
        .register(Check::shared("postgres.ledger").thresholds(1, 1), down);
    cx.health().require(["postgres.ledger".to_owned()]);
    let operator = operator(&runtime, &cx).unwrap();
    let ready = until(operator.local_addr(), "/readyz", "[-]pool failed: refused");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("[-]postgres.ledger failed: refused"),
        "{ready}"
    );
    assert!(
        get(operator.local_addr(), "/livez")
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    runtime.shutdown_background();
}

#[test]
fn an_admin_port_in_use_is_told_by_name_from_the_other_thread() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (runtime, cx) = (one_worker(), Context::standalone());
    let admin = Admin::new(&cx, Probes::new(&cx, &Progress::new()), String::new);
    let settings = settings(taken.local_addr().unwrap().port());
    let _entered = runtime.enter();
    let refused = Operator::start(&settings, admin.router(), &cx, std::future::ready(()));
    let error = refused.err().unwrap();
    assert!(matches!(error, StartError::Configuration { .. }), "{error}");
    assert!(error.to_string().contains("admin.port"), "{error}");
}

#[test]
fn the_listener_closes_when_it_is_drained_and_when_it_is_dropped() {
    let (runtime, cx) = (one_worker(), Context::standalone());
    let drained = operator(&runtime, &cx).unwrap();
    let address = drained.local_addr();
    let stopped = runtime.block_on(drained.drain(Deadline::after(Duration::from_secs(5))));
    assert!(stopped.stragglers().is_empty(), "{stopped:?}");
    assert!(get(address, "/livez").is_err());

    let dropped = operator(&runtime, &cx).unwrap();
    let address = dropped.local_addr();
    drop(dropped);
    let begun = Instant::now();
    while get(address, "/livez").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it still listens");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn starting_the_operators_thread_costs_next_to_nothing() {
    let (runtime, cx) = (one_worker(), Context::standalone());
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let operator = operator(&runtime, &cx).unwrap();
        fastest = fastest.min(begun.elapsed());
        drop(operator);
    }
    println!("{fastest:?}");
    // Measured: about 200 µs unoptimised; generous, because the machine may be busy.
    assert!(fastest < Duration::from_millis(10), "{fastest:?}");
}
