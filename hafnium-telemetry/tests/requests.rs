//! What one request leaves behind: a span, metrics, a log line; and the trace it hands on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use axum::{Router, response::IntoResponse};
use hafnium_core::propagation::Propagation;
use hafnium_core::{Deadline, ServiceInfo};
use hafnium_telemetry::{Telemetry, inject_headers};
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use support::{Lines, settings};
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Service {
    telemetry: Telemetry,
    dispatch: tracing::Dispatch,
    lines: Lines,
    router: Router,
}

impl Service {
    fn new() -> Self {
        let lines = Lines::default();
        let info = ServiceInfo::new("request-test", "1.2.3");
        let (telemetry, dispatch) = Telemetry::detached(&settings(None), &info, lines.clone()).unwrap();
        let downstream = telemetry.propagation();
        let router = Router::new()
            .route("/scores/{id}", get(|| async { "0.17" }))
            .route("/payments", post(|| async { StatusCode::ACCEPTED }))
            .route(
                "/fails",
                get(|| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() }),
            )
            .route("/stuck", get(std::future::pending::<()>))
            .route("/health", get(|| async { "ok" }))
            .route("/downstream", get(async move || sent_on(&downstream)))
            .layer(telemetry.request_layer());
        Self {
            telemetry,
            dispatch,
            lines,
            router,
        }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, String) {
        let router = self.router.clone();
        async {
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20)
                .await
                .unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
        .with_subscriber(self.dispatch.clone())
        .await
    }

    async fn lines(&self) -> &Lines {
        let stopped = self
            .telemetry
            .flush(Deadline::after(Duration::from_secs(5)))
            .await;
        assert!(stopped.stragglers().is_empty());
        &self.lines
    }
}

/// What a handler would send to a service it calls.
fn sent_on(propagation: &Propagation) -> String {
    let mut headers = HeaderMap::new();
    inject_headers(propagation, &mut headers);
    headers
        .iter()
        .map(|(name, value)| format!("{name}={}\n", value.to_str().unwrap()))
        .collect()
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_leaves_one_log_line_with_its_template_and_its_callers_trace() {
    let service = Service::new();
    let mut request = get_request("/scores/17?token=t-9");
    request
        .headers_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 7], 4711))));
    assert_eq!(service.ask(request).await, (StatusCode::OK, "0.17".to_owned()));

    let line = service.lines().await.with_message("GET /scores/{id}");
    assert_eq!(line["target"], "hafnium::access");
    assert_eq!(line["http.request.method"], "GET");
    assert_eq!(line["http.route"], "/scores/{id}");
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["http.response.body.size"], 4);
    assert_eq!(line["client.address"], "10.0.0.7:4711");
    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(line["trace_flags"], "01");
    assert!(line["duration_ms"].as_f64().unwrap() < 5000.0);
    assert!(
        !line.to_string().contains("t-9"),
        "a query is never logged: {line}"
    );
}

#[tokio::test]
async fn metrics_are_by_template_status_and_known_method_only() {
    let service = Service::new();
    for id in 0..50 {
        service.ask(get_request(&format!("/scores/{id}"))).await;
        service.ask(get_request(&format!("/unknown/{id}"))).await;
    }
    for method in ["BREW", "PURGE"] {
        let request = Request::builder().method(method).uri("/scores/1");
        let (status, _) = service.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    service.ask(get_request("/fails")).await;
    service.ask(get_request("/health")).await;

    let text = service.telemetry.render_prometheus();
    let count = |labels: &str| {
        let prefix = format!("http_server_request_duration_seconds_count{{{labels}}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        value.map(|value| value.parse::<u64>().unwrap())
    };
    let labels = "http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/scores/{id}\",url_scheme=\"http\"";
    assert_eq!(count(labels), Some(50), "{text}");
    let labels = "http_request_method=\"GET\",http_response_status_code=\"404\",url_scheme=\"http\"";
    assert_eq!(count(labels), Some(50), "{text}");
    let labels = "http_request_method=\"_OTHER\",http_response_status_code=\"405\",http_route=\"/scores/{id}\",url_scheme=\"http\"";
    assert_eq!(count(labels), Some(2), "{text}");
    let labels = "error_type=\"500\",http_request_method=\"GET\",http_response_status_code=\"500\",http_route=\"/fails\",url_scheme=\"http\"";
    assert_eq!(count(labels), Some(1), "{text}");
    // Nothing else: no probe, no path, no method of a client's invention.
    let series = text
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"));
    assert_eq!(series.count(), 4, "{text}");
    assert!(text.contains("_bucket{http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/scores/{id}\",url_scheme=\"http\",le=\"0.005\"}"), "{text}");
    assert!(
        text.contains("http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0"),
        "{text}"
    );
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    assert!(!text.contains("otel_scope"), "{text}");
}

#[tokio::test]
async fn what_a_handler_sends_on_is_the_child_of_its_own_span() {
    let service = Service::new();
    let mut request = get_request("/downstream");
    request
        .headers_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    request
        .headers_mut()
        .insert("tracestate", "vendor=1".parse().unwrap());
    request
        .headers_mut()
        .insert("baggage", "tenant=acme".parse().unwrap());
    let (_, sent) = service.ask(request).await;
    let line = service.lines().await.with_message("GET /downstream");
    let own = line["span_id"].as_str().unwrap();
    assert_ne!(own, "b7ad6b7169203331");
    assert!(
        sent.contains(&format!("traceparent=00-{TRACE}-{own}-01\n")),
        "{sent}"
    );
    assert!(sent.contains("tracestate=vendor=1\n"), "{sent}");
    assert!(sent.contains("baggage=tenant=acme\n"), "{sent}");
}

#[tokio::test]
async fn a_caller_that_did_not_sample_is_followed_and_headers_that_are_nonsense_are_not() {
    let service = Service::new();
    let mut request = get_request("/downstream");
    let unsampled = TRACEPARENT.replace("-01", "-00");
    request
        .headers_mut()
        .insert("traceparent", unsampled.parse().unwrap());
    let (_, sent) = service.ask(request).await;
    assert!(sent.contains(TRACE) && sent.contains("-00\n"), "{sent}");

    let mut request = get_request("/downstream");
    request
        .headers_mut()
        .insert("traceparent", "00-nonsense-01".parse().unwrap());
    let (_, sent) = service.ask(request).await;
    assert!(
        sent.starts_with("traceparent=00-") && !sent.contains(TRACE),
        "{sent}"
    );
}

#[tokio::test]
async fn a_request_that_is_abandoned_is_recorded_as_such() {
    let service = Service::new();
    let request = service.router.clone().oneshot(get_request("/stuck"));
    let abandoned = async {
        let answer = tokio::time::timeout(Duration::from_millis(50), request).await;
        assert!(answer.is_err());
    };
    abandoned.with_subscriber(service.dispatch.clone()).await;
    let text = service.telemetry.render_prometheus();
    let labels =
        "error_type=\"cancelled\",http_request_method=\"GET\",http_route=\"/stuck\",url_scheme=\"http\"";
    assert!(
        text.contains(&format!(
            "http_server_request_duration_seconds_count{{{labels}}} 1"
        )),
        "{text}"
    );
    assert!(
        text.contains("http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0"),
        "{text}"
    );
    let line = service.lines().await.with_message("GET /stuck");
    assert_eq!(line["error.type"], "cancelled");
    assert!(line.get("http.response.status_code").is_none(), "{line}");
}

#[tokio::test]
async fn a_request_is_under_way_until_its_body_is_sent() {
    let service = Service::new();
    let response = service.router.clone().oneshot(get_request("/scores/1"));
    let response = response.with_subscriber(service.dispatch.clone()).await.unwrap();
    let active = "http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 1";
    assert!(service.telemetry.render_prometheus().contains(active));
    assert_eq!(
        response.body().size_hint().exact(),
        Some(4),
        "the length is still known"
    );
    drop(response);
    assert!(!service.telemetry.render_prometheus().contains(active));
}
