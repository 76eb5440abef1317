//! What a collector gets: the spans of requests by the semantic conventions, sampled as it was decided.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "otlp")]

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use hafnium_core::config::Ratio;
use hafnium_core::{Deadline, ServiceInfo};
use hafnium_telemetry::{Telemetry, TelemetrySettings};
use http::{Request, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use support::{Collector, Lines, settings};
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

const PARENT: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn score() -> &'static str {
    tracing::error!("an error that was handled");
    tracing::info_span!("lookup", table = "scores", db_password = "hunter2").in_scope(|| ());
    tracing::debug_span!("too fine").in_scope(|| ());
    "0.17"
}

/// Asks each of `requests` and returns the lines and what the collector got.
async fn exported(
    settings: TelemetrySettings,
    collector: &Collector,
    requests: Vec<Request<Body>>,
) -> (Lines, Exported) {
    let lines = Lines::default();
    let service = ServiceInfo::new("trace-test", "1.2.3");
    let (telemetry, dispatch) = Telemetry::detached(&settings, &service, lines.clone()).unwrap();
    let router = Router::new()
        .route("/scores/{id}", get(score))
        .route("/fails", get(|| async { StatusCode::BAD_GATEWAY }))
        .layer(telemetry.request_layer());
    async {
        for request in requests {
            let response = router.clone().oneshot(request).await.unwrap();
            axum::body::to_bytes(Body::new(response.into_body()), 1 << 20)
                .await
                .unwrap();
        }
    }
    .with_subscriber(dispatch)
    .await;
    let stopped = telemetry.flush(Deadline::after(Duration::from_secs(5))).await;
    assert!(stopped.stragglers().is_empty(), "{stopped:?}");
    (lines, Exported::decode(collector))
}

struct Exported {
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
}

impl Exported {
    fn decode(collector: &Collector) -> Self {
        let mut all = Self {
            resource: Vec::new(),
            spans: Vec::new(),
        };
        for body in collector.posted("/v1/traces") {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for of_resource in request.resource_spans {
                all.resource = of_resource.resource.unwrap().attributes;
                all.spans
                    .extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        all
    }

    fn span(&self, name: &str) -> &Span {
        let names: Vec<&str> = self.spans.iter().map(|span| span.name.as_str()).collect();
        let found = self.spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("{name:?} in {names:?}"))
    }
}

fn value(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue {
            value: Some(any_value::Value::StringValue(text)),
        }) => text,
        Some(AnyValue {
            value: Some(any_value::Value::IntValue(number)),
        }) => number.to_string(),
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

#[tokio::test]
async fn a_span_of_a_request_follows_the_conventions_and_only_5xx_is_an_error() {
    let collector = Collector::healthy();
    let scores = Request::get("/scores/17?token=t-9")
        .header("traceparent", TRACEPARENT)
        .header("user-agent", "test/1");
    let requests = vec![
        scores.body(Body::empty()).unwrap(),
        Request::get("/fails").body(Body::empty()).unwrap(),
    ];
    let (lines, exported) = exported(settings(Some(&collector.endpoint)), &collector, requests).await;
    assert_eq!(value(&exported.resource, "service.name"), "trace-test");

    let span = exported.span("GET /scores/{id}");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(span.parent_span_id, PARENT);
    let of_span = |key| value(&span.attributes, key);
    assert_eq!(of_span("http.request.method"), "GET");
    assert_eq!(of_span("http.route"), "/scores/{id}");
    assert_eq!(of_span("url.path"), "/scores/17");
    assert_eq!(of_span("url.scheme"), "http");
    assert_eq!(of_span("http.response.status_code"), "200");
    assert_eq!(of_span("user_agent.original"), "test/1");
    // A handled error is a log line, not the failure of the request.
    lines.with_message("an error that was handled");
    assert!(
        span.status
            .as_ref()
            .is_none_or(|status| status.code() == SpanStatus::Unset),
        "{span:?}"
    );
    assert!(span.events.is_empty());

    let lookup = exported.span("lookup");
    assert_eq!(lookup.parent_span_id, span.span_id);
    assert_eq!(value(&lookup.attributes, "db_password"), "***");

    let failed = exported.span("GET /fails");
    assert_eq!(failed.status.as_ref().unwrap().code(), SpanStatus::Error);
    assert_eq!(value(&failed.attributes, "error.type"), "502");
    assert_eq!(exported.spans.len(), 3, "spans below INFO are not traced");
}

#[tokio::test]
async fn a_callers_decision_to_sample_wins_over_the_ratio_and_unsampled_traces_still_have_ids() {
    let collector = Collector::healthy();
    let mut settings = settings(Some(&collector.endpoint));
    settings.sample_ratio = Some(Ratio::from_percent(0));
    let decided = Request::get("/fails").header("traceparent", TRACEPARENT);
    let requests = vec![
        decided.body(Body::empty()).unwrap(),
        Request::get("/scores/1").body(Body::empty()).unwrap(),
    ];
    let (lines, exported) = exported(settings, &collector, requests).await;
    exported.span("GET /fails");
    assert_eq!(exported.spans.len(), 1);
    let line = lines.with_message("GET /scores/{id}");
    assert_eq!(line["trace_flags"], "00");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
}
