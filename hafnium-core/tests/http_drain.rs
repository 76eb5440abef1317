//! The end of the application listener: no request fails that a well-behaved client sends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod http_client;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hafnium_core::admin::Probes;
use hafnium_core::component::Stopped;
use hafnium_core::health::{Check, Health, Registry, Status};
use hafnium_core::http::{HttpSettings, Server, envelope, mount_probes};
use hafnium_core::lifecycle::{Lifecycle, Plan, Progress, ShutdownSettings, State, stop};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Component, Context, Deadline, ServiceInfo};
use http::StatusCode;
use http_client::{Http, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

struct Service {
    lifecycle: Lifecycle,
    cx: Context,
    server: Arc<Server>,
    address: SocketAddr,
}

fn service(router: Router) -> Service {
    let lifecycle = Lifecycle::new();
    let info = ServiceInfo::new("drained", "0");
    let cx = Context::new(
        info,
        Registry::new(),
        Metrics::noop(),
        Propagation::none(),
        Tasks::new(),
        lifecycle.watch(),
    );
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    let router = envelope(router, &settings, &cx);
    let router = mount_probes(router, &Probes::new(&cx, &Progress::new()));
    let server = Arc::new(settings.serve(settings.bind().unwrap(), router, &cx).unwrap());
    lifecycle.advance(State::Ready);
    let address = server.local_addr();
    Service {
        lifecycle,
        cx,
        server,
        address,
    }
}

fn slow(millis: u64) -> Router {
    Router::new().route(
        "/",
        get(move || async move {
            sleep(Duration::from_millis(millis)).await;
            "done"
        }),
    )
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    failed: Mutex<Vec<String>>,
    told_to_close: AtomicU64,
}

/// Sends one request after the other until the load balancer, which asks `/ready`, has taken the service out.
async fn load(
    client: Http,
    address: SocketAddr,
    out: tokio::sync::watch::Receiver<bool>,
    counts: Arc<Counts>,
) {
    while !*out.borrow() {
        counts.sent.fetch_add(1, Ordering::Relaxed);
        match http_client::get(&client, address, "/").await {
            Ok(answer) if answer.status == StatusCode::OK => {
                if answer.header("connection") == "close" {
                    counts.told_to_close.fetch_add(1, Ordering::Relaxed);
                }
            }
            other => {
                counts.failed.lock().unwrap().push(format!("{other:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_fails_no_request_while_ready_already_says_503() {
    let service = service(slow(5));
    let address = service.address;
    let (take_out, out) = tokio::sync::watch::channel(false);
    let counts = Arc::new(Counts::default());
    let mut clients = Vec::new();
    for index in 0..12 {
        let client = if index % 3 == 0 { http2() } else { http1() };
        clients.push(tokio::spawn(load(client, address, out.clone(), counts.clone())));
    }
    let balancer = tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let client = http1();
            let ready = http_client::get(&client, address, "/ready").await.unwrap().status;
            let health = http_client::get(&client, address, "/health")
                .await
                .unwrap()
                .status;
            if ready != health {
                // The drain began between the two questions.
                assert_eq!((ready, health), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
            }
            if ready == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
            asked += 1;
            sleep(Duration::from_millis(50)).await;
        }
        // It goes on sending for a while: that is what the drain delay is for.
        sleep(Duration::from_millis(600)).await;
        take_out.send_replace(true);
        asked
    });
    sleep(Duration::from_millis(500)).await;
    let budget = ShutdownSettings::default()
        .budget(Duration::from_secs(1))
        .unwrap();
    let workload: Arc<dyn Component> = service.server.clone();
    let plan = Plan::new(service.cx.tasks().clone()).workloads([workload]);
    let begun = Instant::now();
    let verdict = stop(&service.lifecycle, budget, plan).await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(begun.elapsed() < Duration::from_millis(2500), "{verdict}");
    assert!(balancer.await.unwrap() > 3, "it was ready before");
    for client in clients {
        client.await.unwrap();
    }
    let sent = counts.sent.load(Ordering::Relaxed);
    assert!(sent > 100, "{sent}");
    assert!(
        counts.failed.lock().unwrap().is_empty(),
        "of {sent}: {:?}",
        counts.failed
    );
    assert!(counts.told_to_close.load(Ordering::Relaxed) > 50);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn idle_connections_close_at_once_and_requests_under_way_finish() {
    let service = service(slow(600));
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    idle.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let address = service.address;
    let under_way = tokio::spawn(async move { http_client::get(&http1(), address, "/").await });
    sleep(Duration::from_millis(200)).await;

    let begun = Instant::now();
    service.lifecycle.advance(State::Stopping);
    let draining = tokio::spawn(async move {
        let stopped = service
            .server
            .drain(Deadline::after(Duration::from_secs(5)))
            .await;
        (stopped, begun.elapsed())
    });
    assert_eq!(
        timeout(Duration::from_millis(200), idle.read(&mut buffer))
            .await
            .expect("closed")
            .unwrap(),
        0
    );
    let answer = under_way.await.unwrap().unwrap();
    assert_eq!(
        (answer.body.as_str(), answer.header("connection")),
        ("done", "close")
    );
    let (stopped, took) = draining.await.unwrap();
    assert_eq!(stopped, Stopped::Clean);
    assert!((100..2000).contains(&took.as_millis()), "not slept out: {took:?}");
}

#[tokio::test]
async fn an_http2_client_gets_goaway_and_its_stream_finishes() {
    let service = service(slow(500));
    let stream = TcpStream::connect(service.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = || {
        let uri = format!("http://{}/", service.address);
        http::Request::builder()
            .uri(uri)
            .body(http_body_util::Empty::<hyper::body::Bytes>::new())
            .unwrap()
    };
    let under_way = sender.send_request(request());
    let under_way = tokio::spawn(under_way);
    sleep(Duration::from_millis(100)).await;
    let drained = service.server.drain(Deadline::after(Duration::from_secs(5)));
    let (stopped, answer) = tokio::join!(drained, under_way);
    assert_eq!(stopped, Stopped::Clean);
    assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    timeout(Duration::from_secs(1), connection)
        .await
        .expect("closed")
        .unwrap()
        .unwrap();
    assert!(sender.send_request(request()).await.is_err());
}

#[tokio::test]
async fn a_request_that_arrives_in_the_moment_of_the_stop_is_answered() {
    let service = service(slow(1));
    let mut fresh = TcpStream::connect(service.address).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    service.lifecycle.advance(State::Stopping);
    let drained = tokio::spawn(async move {
        service
            .server
            .drain(Deadline::after(Duration::from_secs(5)))
            .await
    });
    sleep(Duration::from_millis(100)).await;
    fresh
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    fresh.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(drained.await.unwrap(), Stopped::Clean);
}

#[tokio::test]
async fn what_is_not_finished_by_the_deadline_is_named_and_cut() {
    let service = service(slow(60_000));
    let address = service.address;
    let under_way = tokio::spawn(async move { http_client::get(&http1(), address, "/").await });
    sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let stopped = service
        .server
        .drain(Deadline::after(Duration::from_millis(300)))
        .await;
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert!(stopped.stragglers()[0].starts_with("GET / for 0."), "{stopped:?}");
    under_way.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn the_accept_loop_is_watched_while_it_is_to_run_and_not_after() {
    let service = service(slow(1));
    sleep(Duration::from_millis(100)).await;
    let names = |cx: &Context| -> Vec<String> {
        cx.health()
            .report()
            .pulses
            .into_iter()
            .map(|pulse| pulse.name)
            .collect()
    };
    let mut watched = names(&service.cx);
    watched.sort();
    assert_eq!(watched, ["http.accept", "http.loopback"]);
    let report = service.cx.health().report();
    assert!(
        report
            .pulses
            .iter()
            .all(|pulse| pulse.silent < Duration::from_secs(1)),
        "both have beaten"
    );
    let stopped = service
        .server
        .drain(Deadline::after(Duration::from_secs(5)))
        .await;
    assert_eq!(stopped, Stopped::Clean);
    assert!(names(&service.cx).is_empty());
}

#[tokio::test]
async fn with_a_required_check_down_health_is_200_and_ready_503_as_readyz_is() {
    let service = service(slow(0));
    let health = service.cx.health();
    health.run(service.cx.tasks(), service.cx.metrics());
    let ask = async |path: &str| {
        let answer = http_client::get(&http1(), service.address, path).await.unwrap();
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        answer.status.as_u16()
    };
    assert_eq!((ask("/health").await, ask("/ready").await), (200, 200));
    health.require(["postgres.ledger".to_owned()]);
    let broken = || async { Status::Down("refused".into()) };
    let _shared = health.register(Check::shared("postgres.ledger"), broken);
    let own = health.register(Check::own("model"), broken);
    let down = |name: &str| {
        let checks = health.report().checks;
        let found = checks.into_iter().find(|check| check.name == name);
        found.is_some_and(|check| check.health == Health::Down)
    };
    let begun = Instant::now();
    while !(down("postgres.ledger") && down("model")) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", health.report());
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((ask("/health").await, ask("/ready").await), (200, 503));
    // The required dependency alone does it too.
    drop(own);
    assert_eq!((ask("/health").await, ask("/ready").await), (200, 503));
}

#[tokio::test]
async fn a_users_own_health_route_is_kept() {
    let own = Router::new().route("/health", get(|| async { "mine" }));
    let service = service(own);
    let client = http1();
    assert_eq!(
        http_client::get(&client, service.address, "/health")
            .await
            .unwrap()
            .body,
        "mine"
    );
    let ready = http_client::get(&client, service.address, "/ready")
        .await
        .unwrap();
    assert_eq!(
        (ready.body.as_str(), ready.header("cache-control")),
        ("ok\n", "no-store")
    );
}
