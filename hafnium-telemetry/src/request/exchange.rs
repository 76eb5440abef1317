//! One request from its arrival to the last byte of its answer, recorded exactly once, however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath};
use http::{HeaderName, Request, Response, Version};
use opentelemetry::trace::Status;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Observer;
use super::address::Address;
use super::headers::extract_headers;
use super::instruments::{Ending, Handles, Kind, known_method};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request under way. Recorded when it is dropped.
pub(super) struct Exchange {
    span: Span,
    /// Until it is recorded.
    underway: Option<Underway>,
}

struct Underway {
    handles: Arc<Handles>,
    peer: Option<SocketAddr>,
    request_id: Option<String>,
    begun: Instant,
    ending: Ending,
    bytes: u64,
    access_log: bool,
}

impl Exchange {
    /// Begins the telemetry of `request`; `None` for one that is left out.
    pub(super) fn begin<B>(observer: &Observer, request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        if observer.left_out.iter().any(|left_out| left_out == path) {
            return None;
        }
        let kind = Kind {
            method: known_method(request.method()),
            scheme: match request.uri().scheme_str() {
                Some("https") => "https",
                _ => "http",
            },
        };
        let route = request.extensions().get::<MatchedPath>();
        let handles = observer.instruments.of(route.map(MatchedPath::as_str), kind);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|info| info.0);
        handles.active.add(1);
        let span = span(observer, request, &handles, peer);
        let underway = Some(Underway {
            handles,
            peer,
            request_id: None,
            begun: Instant::now(),
            ending: Ending::Cancelled,
            bytes: 0,
            access_log: observer.access_log,
        });
        Some(Self { span, underway })
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The answer began.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        underway.ending = Ending::Answered(response.status().as_u16());
        let id = response.headers().get(REQUEST_ID);
        underway.request_id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
    }

    /// The service failed instead of answering.
    pub(super) fn failed(&mut self) {
        if let Some(underway) = &mut self.underway {
            underway.ending = Ending::Failed;
        }
    }

    /// Runs `poll`, which hands over a part of the answer's body, within the span. Where it says that this was the last
    /// one, the request is recorded while the span is entered anyway.
    pub(super) fn send<T>(&mut self, poll: impl FnOnce() -> (T, Sent)) -> T {
        let _entered = self.span.enter();
        let (polled, sent) = poll();
        if let Some(underway) = &mut self.underway {
            match sent {
                Sent::Nothing => {}
                Sent::Part(bytes) | Sent::Last(bytes) => underway.bytes += bytes as u64,
                Sent::Broken => {
                    if let Ending::Answered(status) = underway.ending {
                        underway.ending = Ending::Broken(status);
                    }
                }
            }
        }
        if let Sent::Last(_) = sent
            && let Some(underway) = self.underway.take()
        {
            underway.record(&self.span);
        }
        polled
    }
}

/// What one look at the body of an answer gave, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Part(usize),
    /// Nothing comes after it.
    Last(usize),
    /// It failed.
    Broken,
}

/// What is not useful in every log line of a handler goes to the trace only, where one is exported.
fn span<B>(observer: &Observer, request: &Request<B>, handles: &Handles, peer: Option<SocketAddr>) -> Span {
    let kind = handles.kind;
    let span = tracing::info_span!(
        target: "hafnium::request",
        "request",
        otel.name = handles.name.as_str(),
        otel.kind = "server",
        http.request.method = kind.method,
        http.route = handles.route.as_deref(),
        http.response.status_code = Empty,
        "error.type" = Empty,
    );
    extract_headers(&observer.propagation.0, request.headers(), &span);
    if !observer.exported {
        return span;
    }
    span.set_attribute("url.path", request.uri().path().to_owned());
    span.set_attribute("url.scheme", kind.scheme);
    span.set_attribute("network.protocol.version", protocol(request.version()));
    if kind.method == "_OTHER" {
        let original: String = request.method().as_str().chars().take(32).collect();
        span.set_attribute("http.request.method_original", original);
    }
    if let Some(peer) = peer {
        span.set_attribute("client.address", peer.ip().to_string());
    }
    let agent = request.headers().get(http::header::USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        span.set_attribute("user_agent.original", agent.to_owned());
    }
    span
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(underway) = self.underway.take() {
            let _entered = self.span.enter();
            underway.record(&self.span);
        }
    }
}

impl Underway {
    /// Within the span: the line is one of its.
    fn record(self, span: &Span) {
        let taken = self.begun.elapsed();
        let kind = self.handles.kind;
        let route = self.handles.route.as_deref();
        let status = self.ending.status();
        let error = self.ending.error();
        self.handles.active.add(-1);
        self.handles.record(self.ending, taken.as_secs_f64());
        if let Some(status) = status {
            span.record("http.response.status_code", status);
        }
        if let Some(error) = &error {
            span.record("error.type", error.as_str());
        }
        // A caller that went away is no failure of this side.
        if error.is_some() && self.ending != Ending::Cancelled {
            span.set_status(Status::error(""));
        }
        if !self.access_log {
            return;
        }
        let peer = self.peer.map(Address::of);
        tracing::info!(
            target: "hafnium::access",
            message = self.handles.line.as_str(),
                "http.request.method" = kind.method,
                "http.route" = route,
                "http.response.status_code" = status,
                "http.response.body.size" = self.bytes,
                "client.address" = peer.as_ref().map(Address::as_str),
                "error.type" = error,
                request_id = self.request_id,
                duration_ms = taken.as_micros() as f64 / 1000.0,
        );
    }
}
