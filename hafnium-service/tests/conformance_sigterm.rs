//! What every service does when it is told to stop: a real process, real connections, real signals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::http::{Connection, get};
use support::{Launch, Service, Signal};
use tokio::time::Instant;

const START: Duration = Duration::from_secs(20);

fn conformance(case: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case)
}

/// What the clients of a load saw.
#[derive(Default)]
struct Load {
    enough: AtomicBool,
    draining: AtomicBool,
    answered: AtomicU64,
    answered_draining: AtomicU64,
    /// Answers during the drain over which a connection could have been kept.
    kept_open_draining: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Load {
    fn note(&self, result: std::io::Result<support::http::Answer>, client: &str, draining: bool) -> bool {
        match result {
            Ok(answer) if answer.status == 200 => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                // Only what was asked after the drain was seen to have begun.
                if draining {
                    self.answered_draining.fetch_add(1, Ordering::Relaxed);
                    self.kept_open_draining
                        .fetch_add(u64::from(!answer.closes()), Ordering::Relaxed);
                }
                answer.closes()
            }
            other => {
                self.failed.lock().unwrap().push(format!("{client}: {other:?}"));
                true
            }
        }
    }

    /// A client that keeps its connection until the server says that it closes it.
    async fn kept(self: Arc<Self>, port: u16) {
        let mut connection = None;
        while !self.enough.load(Ordering::Relaxed) {
            let draining = self.draining.load(Ordering::Relaxed);
            let result = async {
                if connection.is_none() {
                    connection = Some(Connection::open(port).await?);
                }
                connection.as_mut().unwrap().send(&get("/")).await
            };
            if self.note(result.await, "kept", draining) {
                connection = None;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A client that opens a connection per request.
    async fn fresh(self: Arc<Self>, port: u16) {
        while !self.enough.load(Ordering::Relaxed) {
            let draining = self.draining.load(Ordering::Relaxed);
            self.note(get("/").send(port).await, "fresh", draining);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request_and_ends_with_0() {
    let mut service = conformance("")
        .variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "2s")
        .start();
    service.ready(START).await;
    let load = Arc::new(Load::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(load.clone().kept(service.port));
    }
    for _ in 0..2 {
        clients.spawn(load.clone().fresh(service.port));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = load.answered.load(Ordering::Relaxed);
    assert!(before > 50, "the load never got going: {before} answers");

    let told = Instant::now();
    service.signal(Signal::TERM);
    let refused = service.probes("/readyz", 503, Duration::from_secs(1)).await;
    assert!(refused.body.contains("lifecycle"), "{refused:?}");
    load.draining.store(true, Ordering::Relaxed);
    assert_eq!(service.probe("/livez").await.status, 200);
    // What a load balancer sees that knows only the application listener.
    assert_eq!(service.ask(get("/ready")).await.status, 503);
    assert_eq!(service.ask(get("/health")).await.status, 503);

    // Asked while it is still served, answered after the listener closed.
    tokio::time::sleep_until(told + Duration::from_millis(1300)).await;
    let slow = tokio::spawn(get("/slow/1500").send(service.port));
    tokio::time::sleep_until(told + Duration::from_millis(1700)).await;
    load.enough.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
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

    let failed = load.failed.lock().unwrap();
    let draining = load.answered_draining.load(Ordering::Relaxed);
    let answered = load.answered.load(Ordering::Relaxed);
    println!(
        "{answered} requests answered, {draining} of them while draining, {} failed",
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {answered} failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(draining > 100, "{draining} requests while draining");
    assert_eq!(
        load.kept_open_draining.load(Ordering::Relaxed),
        0,
        "every answer of a drain says that it is the last"
    );
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
