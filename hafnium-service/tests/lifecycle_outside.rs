//! What stands outside a service sees of its life: a kubelet, a load balancer, a collector, and who asks the wrong port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::body::Bytes;
use hafnium::axum::http::Uri;
use support::http::get;
use support::{Launch, Service, Signal, until};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const START: Duration = Duration::from_secs(20);
/// What a kubelet allows a probe.
const KUBELET: Duration = Duration::from_secs(1);

fn conformance() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
}

/// Without the drain delay that the services of tests are given.
fn by_default() -> Launch {
    conformance().without("HAFNIUM__SHUTDOWN__DRAIN_DELAY")
}

#[tokio::test]
async fn sensitive_endpoints_answer_on_the_operator_listener_alone() {
    let mut service = conformance().start();
    service.ready(START).await;
    for path in [
        "/config",
        "/loglevel",
        "/metrics",
        "/topology",
        "/report",
        "/info",
        "/livez",
        "/readyz",
        "/startupz",
    ] {
        // As a caller on this host asks, so that nothing but the listener decides.
        let answer = service.ask(get(path)).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        let answer = service.probe(path).await;
        assert_ne!(answer.status, 404, "{path}: {answer:?}");
    }
    service.stop(Duration::from_secs(5)).await.exited(0);
}

/// The delay that the first line of the log names.
async fn logged_delay(service: &Service) -> String {
    let starting = service.logged("starting", START, |line| line["message"] == "starting");
    let starting = starting.await;
    starting["drain_delay"].as_str().unwrap().to_owned()
}

/// Ends the service: how long its listener went on taking connections after SIGTERM.
async fn served_on(service: Service) -> Duration {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    service.signal(Signal::TERM);
    let begun = Instant::now();
    until(
        "the listener is closed",
        Duration::from_secs(12),
        async || match TcpStream::connect(address).await {
            Ok(_) => Err("it takes connections".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await;
    let served_on = begun.elapsed();
    service.end(Duration::from_secs(10)).await.exited(0);
    served_on
}

#[tokio::test]
async fn where_something_deployed_the_service_it_serves_on_for_5s() {
    let mut service = by_default()
        .variable("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        .start();
    service.ready(START).await;
    assert_eq!(logged_delay(&service).await, "5s");
    let served_on = served_on(service).await;
    let expected = Duration::from_millis(4900)..Duration::from_secs(9);
    assert!(expected.contains(&served_on), "{served_on:?}");
}

#[tokio::test]
async fn in_dev_the_listener_closes_at_once() {
    let mut service = by_default().variable("ENVIRONMENT", "dev").start();
    service.ready(START).await;
    assert_eq!(logged_delay(&service).await, "0ns");
    let served_on = served_on(service).await;
    assert!(served_on < Duration::from_secs(3), "{served_on:?}");
}

#[tokio::test]
async fn behind_an_external_load_balancer_the_delay_is_15s_and_the_phases_need_a_longer_grace_period() {
    let external = || by_default().variable("HAFNIUM__SHUTDOWN__LOAD_BALANCER", "external");
    let report = external().finish(START).await.exited(78).to_owned();
    assert!(
        report.contains("add up to 38s") && report.contains("drain_delay 15s"),
        "{report}"
    );
    let launch = external().variable("HAFNIUM__SHUTDOWN__TERMINATION_GRACE", "40s");
    let mut service = launch.start();
    service.ready(START).await;
    assert_eq!(logged_delay(&service).await, "15s");
    // Past the delay of any other service, it is still there.
    service.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(service.ask(get("/")).await.status, 200);
    assert_eq!(service.probe("/readyz").await.status, 503);
}

#[tokio::test]
async fn an_accept_loop_that_does_not_turn_fails_livez_as_a_kubelet_sees_it_and_recovers() {
    // The one worker is blocked, and the watch of the runtime itself looks away: what is left is the loop's own heartbeat.
    let mut service = conformance()
        .variable("HAFNIUM__RUNTIME__WORKERS", "1")
        .variable("HAFNIUM__HEALTH__RUNTIME_STALL", "10m")
        .start();
    service.ready(START).await;
    let port = service.port;
    let blocks = tokio::spawn(async move { drop(get("/block/20000").send(port).await) });
    let probe = async || {
        let begun = Instant::now();
        let answer = service.probe("/livez").await;
        assert!(begun.elapsed() < KUBELET, "{:?}", begun.elapsed());
        (answer.status, answer.body)
    };
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(probe().await.0, 200, "not silent for long enough yet");
    let body = until("livez fails", Duration::from_secs(11), async || {
        match probe().await {
            (503, body) => Ok(body),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(
        body.contains("[-]http.accept failed: silent for ") && body.contains("[+]runtime ok"),
        "{body}"
    );
    // Who only connects sees nothing of it: the kernel does that.
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    blocks.await.unwrap();
    until("livez recovers", Duration::from_secs(10), async || {
        match probe().await {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    service.stop(Duration::from_secs(5)).await.exited(0);
}

/// A collector that keeps what is posted to `/v1/traces`, and its address.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let spans = Arc::new(Mutex::new(Vec::new()));
    let kept = spans.clone();
    let router = Router::new().fallback(async move |uri: Uri, body: Bytes| {
        if uri.path() == "/v1/traces" {
            kept.lock().unwrap().extend_from_slice(&body);
        }
    });
    tokio::spawn(async move { hafnium::axum::serve(listener, router).await });
    (endpoint, spans)
}

#[tokio::test]
async fn probes_leave_no_span_at_the_collector() {
    let (endpoint, spans) = collector().await;
    let mut service = conformance()
        .variable("HAFNIUM__TELEMETRY__OTLP_ENDPOINT", endpoint)
        .variable("HAFNIUM__HEALTH__PATHS__APPLICATION_READY", "/ready,/in-service")
        .start();
    service.ready(START).await;
    // The caller's trace is sampled, whatever the service would have decided.
    let sampled = |path: &str| {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        get(path).header("traceparent", parent)
    };
    for path in ["/health", "/ready", "/in-service", "/slow/1"] {
        assert_eq!(service.ask(sampled(path)).await.status, 200, "{path}");
    }
    let operator = ["/livez", "/readyz", "/startupz", "/metrics", "/report"];
    for path in operator {
        assert_eq!(
            sampled(path).send(service.admin).await.unwrap().status,
            200,
            "{path}"
        );
    }
    service.stop(Duration::from_secs(10)).await.exited(0);
    let spans = spans.lock().unwrap();
    // Strings stand in protobuf as they are.
    let holds = |text: &str| spans.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("GET /slow/{milliseconds}"), "{} bytes", spans.len());
    for path in ["/health", "/ready", "/in-service"].into_iter().chain(operator) {
        assert!(!holds(path), "{path}");
    }
}
