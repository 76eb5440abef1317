//! The operator listener, asked as a kubelet and as a person do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod http_client;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hafnium_core::admin::{Admin, AdminSettings, Probes};
use hafnium_core::health::{Check, Registry, Status};
use hafnium_core::http::Server;
use hafnium_core::lifecycle::{Lifecycle, Progress, State, start};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{BoxFuture, Component, Context, Deadline, ServiceInfo, StartError, Stopped};
use http_client::{Answer, Http, http1};
use tokio::time::{Instant, sleep};

struct Service {
    lifecycle: Lifecycle,
    cx: Context,
    progress: Progress,
    _server: Server,
    address: SocketAddr,
    client: Http,
}

impl Service {
    fn start() -> Self {
        let lifecycle = Lifecycle::new();
        let info = ServiceInfo::new("risk-engine", "1.2.3");
        let cx = Context::new(
            info,
            Registry::new(),
            Metrics::noop(),
            Propagation::none(),
            Tasks::new(),
            lifecycle.watch(),
        );
        cx.health().run(cx.tasks(), cx.metrics());
        let progress = Progress::new();
        let mut settings = AdminSettings::default();
        settings.address = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        let admin = Admin::new(&cx, Probes::new(&cx, &progress), || {
            "requests_total 7\n".to_owned()
        });
        let server = Admin::serve(settings.bind().unwrap(), admin.router(), &cx).unwrap();
        let address = server.local_addr();
        Self {
            lifecycle,
            cx,
            progress,
            _server: server,
            address,
            client: http1(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        http_client::get(&self.client, self.address, path).await.unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        let answer = self.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        answer.status.as_u16()
    }

    /// livez, readyz, startupz.
    async fn probes(&self) -> [u16; 3] {
        [
            self.status("/livez").await,
            self.status("/readyz").await,
            self.status("/startupz").await,
        ]
    }
}

#[tokio::test]
async fn the_probes_follow_the_life_of_the_service() {
    let service = Service::start();
    assert_eq!(service.probes().await, [200, 503, 503]);
    service.lifecycle.advance(State::Ready);
    assert_eq!(service.probes().await, [200, 200, 200]);
    service.lifecycle.advance(State::Draining);
    assert_eq!(service.probes().await, [200, 503, 200]);
    service.lifecycle.advance(State::Stopping);
    assert_eq!(service.probes().await, [200, 503, 200]);
}

#[tokio::test]
async fn probes_answer_at_once_while_a_check_hangs() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let _hangs = service.cx.health().register(
        Check::own("pool").timeout(Duration::from_secs(60)),
        std::future::pending::<Status>,
    );
    sleep(Duration::from_millis(50)).await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 503),
        ("/startupz", 200),
        ("/report", 200),
    ] {
        let begun = Instant::now();
        assert_eq!(service.status(path).await, status, "{path}");
        assert!(
            begun.elapsed() < Duration::from_millis(200),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(
        service.get("/readyz").await.body,
        "[+]lifecycle ok\n[-]pool failed: has not run yet\nreadyz check failed\n"
    );
}

#[tokio::test]
async fn a_dead_dependency_shows_and_neither_kills_nor_unreadies_the_process() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let health = service.cx.health();
    let _shared = health.register(Check::shared("postgres.ledger"), || async {
        Status::Down("refused".into())
    });
    let _worn = health.register(Check::own("secrets"), || async {
        Status::Degraded("stale for 9m".into())
    });
    sleep(Duration::from_millis(50)).await;
    assert_eq!(service.probes().await, [200, 200, 200]);
    assert_eq!(
        service.get("/readyz?verbose").await.body,
        "[+]lifecycle ok\n[-]postgres.ledger failed: refused (informational)\n\
         [+]secrets ok (degraded: stale for 9m)\nreadyz check passed\n"
    );
    let single = service.get("/readyz/postgres.ledger").await;
    assert_eq!(
        (single.status.as_u16(), single.body.contains("refused")),
        (503, true)
    );
    assert_eq!(service.status("/readyz/secrets").await, 200);
}

#[tokio::test]
async fn a_critical_check_can_be_excluded_and_unknown_names_are_404_with_the_known_ones() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let _own = service
        .cx
        .health()
        .register(Check::own("pool"), || async { Status::Down("empty".into()) });
    sleep(Duration::from_millis(50)).await;
    assert_eq!(service.status("/readyz").await, 503);
    let excluded = service.get("/readyz?exclude=pool&verbose").await;
    assert_eq!(excluded.status.as_u16(), 200);
    assert_eq!(
        excluded.body,
        "[+]lifecycle ok\n[+]pool excluded\nreadyz check passed\n"
    );
    for path in ["/readyz/poool", "/readyz?exclude=poool"] {
        let unknown = service.get(path).await;
        assert_eq!(unknown.status.as_u16(), 404, "{path}");
        assert_eq!(
            unknown.body,
            "readyz knows no check \"poool\"; known: lifecycle, pool\n"
        );
    }
    let probe = service.get("/healthz").await;
    assert_eq!(probe.status.as_u16(), 404);
    assert!(
        probe.body.contains("/livez, /readyz, /startupz"),
        "{}",
        probe.body
    );
}

#[tokio::test]
async fn json_has_the_microprofile_shape() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let _own = service
        .cx
        .health()
        .register(Check::own("pool"), || async { Status::Down("empty".into()) });
    sleep(Duration::from_millis(50)).await;
    let answer = http_client::get_as(&service.client, service.address, "/readyz", "application/json")
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (503, "application/json")
    );
    let body = answer.json();
    assert_eq!(body["status"], "DOWN");
    assert_eq!(
        body["checks"][0],
        serde_json::json!({"name": "lifecycle", "status": "UP", "data": {"state": "ready"}})
    );
    assert_eq!(body["checks"][1]["name"], "pool");
    assert_eq!(body["checks"][1]["status"], "DOWN");
    assert_eq!(body["checks"][1]["data"]["reason"], "empty");
}

#[tokio::test]
async fn a_stalled_loop_fails_livez_and_names_itself() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let heartbeat = service
        .cx
        .health()
        .heartbeat("consumer.payments", Duration::from_millis(100));
    assert_eq!(service.status("/livez").await, 200);
    sleep(Duration::from_millis(150)).await;
    let stalled = service.get("/livez").await;
    assert_eq!(stalled.status.as_u16(), 503);
    assert!(
        stalled
            .body
            .contains("[-]consumer.payments failed: silent for 0."),
        "{}",
        stalled.body
    );
    heartbeat.beat();
    assert_eq!(service.status("/livez").await, 200);
}

#[tokio::test]
async fn startupz_says_what_it_waits_for() {
    struct Refused;
    impl Component for Refused {
        fn name(&self) -> &str {
            "postgres.ledger"
        }
        fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
            Box::pin(async { Err(StartError::unavailable("postgres.ledger", "connection refused")) })
        }
        fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
            Box::pin(async { Stopped::Clean })
        }
    }
    let service = Service::start();
    let (cx, progress) = (service.cx.clone(), service.progress.clone());
    let starting = tokio::spawn(async move {
        let deadline = Deadline::after(Duration::from_secs(20));
        start(&[std::sync::Arc::new(Refused)], &cx, deadline, &progress).await
    });
    sleep(Duration::from_millis(300)).await;
    let answer = service.get("/startupz?verbose").await;
    starting.abort();
    assert_eq!(answer.status.as_u16(), 503);
    assert!(
        answer
            .body
            .starts_with("[-]lifecycle failed: starting\n[-]postgres.ledger failed: waiting for 0."),
        "{answer:?}"
    );
    assert!(
        answer
            .body
            .contains("attempts: connection refused\nstartupz check failed\n"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn report_info_and_metrics_are_served() {
    let service = Service::start();
    service.lifecycle.advance(State::Ready);
    let _own = service
        .cx
        .health()
        .register(Check::own("pool"), || async { Status::Up });
    sleep(Duration::from_millis(50)).await;
    let report = service.get("/report").await.json();
    assert_eq!(
        (report["state"].as_str(), report["ready"].as_bool()),
        (Some("ready"), Some(true))
    );
    assert_eq!(report["checks"][0]["health"], "up");
    assert_eq!(report["checks"][0]["scope"], "own");
    let info = service.get("/info").await.json();
    assert_eq!(
        (info["name"].as_str(), info["version"].as_str()),
        (Some("risk-engine"), Some("1.2.3"))
    );
    let metrics = service.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");
    assert_eq!(metrics.body, "requests_total 7\n");
}
