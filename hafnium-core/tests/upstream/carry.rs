//! What every request carries: the time left, the trace, the id of the request that is being served.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hafnium_core::health::Registry;
use hafnium_core::http::{HttpSettings, RequestId, Server as Listener, envelope};
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::{Propagation, Propagator};
use hafnium_core::tasks::Tasks;
use hafnium_core::upstream::Upstream;
use hafnium_core::{Context, Deadline, ServiceInfo};
use http::HeaderMap;
use tracing::Span;

use crate::server::{Server, text};
use crate::{Names, settings, upstream_by};

/// A server that keeps the headers of the last request.
async fn keeper() -> (Server, Arc<Mutex<HeaderMap>>) {
    let kept = Arc::new(Mutex::new(HeaderMap::new()));
    let keeping = kept.clone();
    let server = Server::start(move |seen| {
        *keeping.lock().unwrap() = seen.headers;
        async { text("kept") }
    })
    .await;
    (server, kept)
}

fn left(headers: &HeaderMap) -> u64 {
    headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap()
}

/// A service of this house that calls `next` for each request, and a handle on its listener.
fn hop(next: Upstream, kept: Arc<Mutex<HeaderMap>>) -> Listener {
    let app = Router::new().route(
        "/",
        get(async move |headers: HeaderMap| {
            *kept.lock().unwrap() = headers;
            tokio::time::sleep(Duration::from_millis(100)).await;
            next.get("/").await.unwrap().text().unwrap().to_owned()
        }),
    );
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    let cx = Context::standalone();
    let bound = settings.bind().unwrap();
    settings.serve(bound, envelope(app, &settings, &cx), &cx).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_left_shrinks_over_two_hops_and_the_request_id_stays() {
    let (last, at_last) = keeper().await;
    let cx = Context::standalone();
    let second = upstream_by(Names::of(&[last.address]), &settings(), &cx);
    let at_first = Arc::new(Mutex::new(HeaderMap::new()));
    let listener = hop(second, at_first.clone());
    let first = upstream_by(
        Names::of(&[listener.local_addr()]),
        &settings(),
        &Context::standalone(),
    );
    let call = first
        .get("/")
        .header("x-request-id", "order-17")
        .within(Duration::from_millis(2000));
    assert_eq!(call.await.unwrap().text().unwrap(), "kept");
    let (one, two) = (at_first.lock().unwrap().clone(), at_last.lock().unwrap().clone());
    println!(
        "| time left | first hop {} ms | second hop {} ms |",
        left(&one),
        left(&two)
    );
    assert!((1000..=2000).contains(&left(&one)), "{one:?}");
    assert!(
        left(&two) + 100 <= left(&one),
        "{} then {}",
        left(&one),
        left(&two)
    );
    assert_eq!(two["x-request-id"], "order-17");
    assert_eq!(two["user-agent"], "standalone/0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_of_the_task_is_sent_when_it_is_nearer() {
    let (server, kept) = keeper().await;
    let upstream = upstream_by(Names::of(&[server.address]), &settings(), &Context::standalone());
    Deadline::after(Duration::from_millis(700))
        .scope(upstream.get("/").send())
        .await
        .unwrap();
    assert!((300..=700).contains(&left(&kept.lock().unwrap())));
    upstream.get("/").await.unwrap();
    assert!(
        (4000..=5000).contains(&left(&kept.lock().unwrap())),
        "the upstream's own limit"
    );
    assert!(kept.lock().unwrap().get("x-request-id").is_none());
    assert_eq!(RequestId::current(), None);
}

/// Writes the name of the span, as a tracing SDK writes its ids.
struct Naming;

impl Propagator for Naming {
    fn inject(&self, span: &Span, set: &mut dyn FnMut(&str, String)) {
        set(
            "traceparent",
            span.metadata().map_or("no span", |data| data.name()).to_owned(),
        );
    }
    fn extract(&self, _: &Span, _: &dyn Fn(&str) -> Option<String>) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_context_of_the_attempts_own_span_arrives() {
    struct Everything;
    impl tracing::Subscriber for Everything {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let (server, kept) = keeper().await;
    let cx = Context::new(
        ServiceInfo::new("caller", "1.2.3"),
        Registry::new(),
        Metrics::noop(),
        Propagation::new(Naming),
        Tasks::new(),
        Watch::fixed(State::Ready),
    );
    let upstream = upstream_by(Names::of(&[server.address]), &settings(), &cx);
    use tracing::instrument::WithSubscriber;
    upstream
        .get("/")
        .send()
        .with_subscriber(Everything)
        .await
        .unwrap();
    let kept = kept.lock().unwrap();
    assert_eq!(kept["traceparent"], "upstream");
    assert_eq!(kept["user-agent"], "caller/1.2.3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_json_and_headers_arrive_as_they_were_given() {
    let server = Server::start(|seen| async move {
        assert_eq!(seen.method, "POST");
        text(format!(
            "{} {} {}",
            seen.path,
            seen.headers["content-type"].to_str().unwrap(),
            String::from_utf8_lossy(&seen.body)
        ))
    })
    .await;
    let mut settings = settings();
    settings.url = "http://scoring.test/v2/".to_owned();
    let upstream = upstream_by(Names::of(&[server.address]), &settings, &Context::standalone());
    let answer = upstream
        .post("/scores?full=1")
        .query([("of", "a&b")])
        .json(&serde_json::json!({"amount": 1}))
        .await
        .unwrap();
    assert_eq!(
        answer.text().unwrap(),
        r#"/v2/scores?full=1&of=a%26b application/json {"amount":1}"#
    );
    let error = answer.json::<u64>().unwrap_err().to_string();
    assert!(error.contains("line 1") && !error.contains("amount"), "{error}");
}
