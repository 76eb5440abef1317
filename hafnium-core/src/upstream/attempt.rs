//! One request at one address.

use std::pin::pin;
use std::time::Duration;

use http::Request;
use http::header::{HeaderName, HeaderValue};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::broken;
use super::core::Core;
use super::endpoint::{Endpoint, Lease};
use super::error::UpstreamError;
use super::figures::method_name;
use super::link::Exchange;
use super::order::Order;
use super::payload::Payload;
use super::problem::UpstreamProblem;
use super::record::Record;
use super::response::Response;
use crate::classify::{Classify, Outcome};
use crate::deadline::{Deadline, DeadlineExceeded, wire};
use crate::http::{REQUEST_ID, RequestId};

/// The limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) deadline: Deadline,
    /// Whether the deadline is the attempt's own, and the call has time left afterwards.
    pub(super) own: bool,
    /// For opening a connection, if it needs one.
    pub(super) dial: Duration,
}

/// A connection on which nothing came back, and what is wrong with it.
struct Failed {
    error: UpstreamError,
    /// It was a kept one, and closed before the first byte of an answer.
    stale: bool,
}

impl Core {
    /// Sends `order` to the address of `lease` and reads the whole answer.
    pub(super) async fn attempt(
        &self,
        order: &Order,
        mut lease: Lease,
        limits: Limits,
        resent: u32,
    ) -> Result<Response, UpstreamError> {
        let span = tracing::info_span!(
            target: "hafnium::upstream",
            "upstream",
            otel.name = method_name(&order.method),
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = method_name(&order.method),
            http.request.resend_count = (resent > 0).then_some(resent),
            http.response.status_code = Empty,
            server.address = self.target.host.as_str(),
            server.port = self.target.port,
            network.peer.address = %lease.endpoint().address(),
            "error.type" = Empty,
            upstream = &*self.name,
        );
        let record = Record::begin(&self.figures, &order.method, &span);
        let begun = Instant::now();
        let result = self
            .exchange(order, lease.endpoint(), limits, &span)
            .instrument(span.clone())
            .await;
        let sign = broken::sign(&result, begun.elapsed(), self.live().connect_timeout);
        let ejection = self.live().ejection;
        self.addresses.judge(&mut lease, sign, &ejection);
        if let Err(UpstreamError::Connect { .. } | UpstreamError::Broken { .. }) = &result {
            self.lookups.ask();
        }
        record.end(&result);
        if result.is_ok() {
            self.latest().record(begun.elapsed());
        }
        result
    }

    async fn exchange(
        &self,
        order: &Order,
        endpoint: &Endpoint,
        limits: Limits,
        span: &Span,
    ) -> Result<Response, UpstreamError> {
        let failed = match self.once(order, endpoint, limits, span, Kept::Yes).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        // The server closed a kept connection just when it was used. That says nothing of the server, so it is no
        // retry: it costs no budget, and another kept connection may be as old.
        let harmless = order.idempotent || failed.error.outcome() == Outcome::NotRun;
        if failed.stale && harmless && order.content.is_kept() && !limits.deadline.is_past() {
            self.figures.reopened.add(1);
            order.replaced(failed.error);
            let again = self.once(order, endpoint, limits, span, Kept::No).await;
            return again.map_err(|failed| failed.error);
        }
        Err(failed.error)
    }

    /// Sends it over one connection.
    async fn once(
        &self,
        order: &Order,
        endpoint: &Endpoint,
        limits: Limits,
        span: &Span,
        kept: Kept,
    ) -> Result<Response, Failed> {
        let mut request = order.request().ok_or_else(|| UpstreamError::Request {
            upstream: self.name.clone(),
            reason: "its body was a stream and is gone".to_owned(),
            sent: false,
        })?;
        self.carry(&mut request, limits.deadline, span);
        let mut connection = capture_connection(&mut request);
        let answer = match kept {
            Kept::Yes => endpoint.client().request(request),
            Kept::No => endpoint.fresh().request(request),
        };
        let mut answer = pin!(answer);
        let begun = Instant::now();
        let late = |waited_for: &'static str, sent: bool| UpstreamError::Deadline {
            upstream: self.name.clone(),
            late: DeadlineExceeded::new(waited_for, begun.elapsed()),
            sent,
            attempt: limits.own,
        };

        // Until there is a connection nothing is sent, and giving up does no harm.
        let dial = limits.deadline.instant().min(begun + limits.dial);
        let early = tokio::select! {
            biased;
            answer = &mut answer => Some(answer),
            () = async { drop(connection.wait_for_connection_metadata().await) } => None,
            () = tokio::time::sleep_until(dial) => {
                return Err(match limits.deadline.is_past() {
                    true => late("a connection", false),
                    false => UpstreamError::Connect {
                        upstream: self.name.clone(),
                        reason: format!("no connection to {} within {:?}", endpoint.address(), limits.dial),
                        retryable: true,
                        code: "upstream.connect_timeout",
                    },
                }
                .into());
            }
        };
        let exchange = connection
            .connection_metadata()
            .as_ref()
            .and_then(Exchange::begin);
        let answer = match early {
            Some(answer) => answer,
            None => match tokio::time::timeout_at(limits.deadline.instant(), answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(late("its answer", true).into()),
            },
        };
        let answer = answer.map_err(|error| {
            let reused = exchange.as_ref().is_some_and(|exchange| exchange.reused);
            let refused = match &exchange {
                Some(exchange) => exchange.refused(),
                // Without a connection nothing was sent; whose refusal it was makes no difference then.
                None => endpoint.counts.refused_since(begun),
            };
            Failed {
                stale: reused && broken::closed_before_answer(&error),
                error: broken::explain(&self.name, endpoint.address(), order, &error, refused),
            }
        })?;
        if let Some(exchange) = &exchange {
            exchange.answered();
        }

        let (head, body) = answer.into_parts();
        let whole = self.whole(body, endpoint);
        let body = match tokio::time::timeout_at(limits.deadline.instant(), whole).await {
            Ok(body) => body?,
            Err(_) => return Err(late("the rest of its answer", true).into()),
        };
        let response = Response::new(self.name.clone(), endpoint.address(), head, body);
        if order.accepts(response.status()) {
            return Ok(response);
        }
        let problem = UpstreamProblem::read(response.headers(), response.bytes()).map(Box::new);
        Err(UpstreamError::Status {
            response: Box::new(response),
            problem,
        }
        .into())
    }

    /// The body, up to the limit.
    async fn whole(&self, body: Incoming, endpoint: &Endpoint) -> Result<bytes::Bytes, UpstreamError> {
        let limit = self.live().body_limit;
        let too_large = || UpstreamError::TooLarge {
            upstream: self.name.clone(),
            limit,
        };
        if body.size_hint().lower() > limit.bytes() {
            return Err(too_large());
        }
        let most = usize::try_from(limit.bytes()).unwrap_or(usize::MAX);
        let whole = Limited::new(body, most).collect().await;
        whole.map(|whole| whole.to_bytes()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                return too_large();
            }
            UpstreamError::Broken {
                upstream: self.name.clone(),
                address: endpoint.address(),
                sent: true,
                reason: broken::chain(error.as_ref()),
            }
        })
    }

    /// Puts in what every request carries: the time left, the trace, the id of the request that is being served.
    fn carry(&self, request: &mut Request<Payload>, deadline: Deadline, span: &Span) {
        let headers = request.headers_mut();
        wire::write(deadline, headers);
        if let Some(id) = RequestId::current() {
            headers.entry(REQUEST_ID).or_insert_with(|| id.value());
        }
        headers
            .entry(http::header::USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        self.propagation.inject(span, |name, value| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        });
    }
}

/// Whether a kept connection may be used.
#[derive(Clone, Copy)]
enum Kept {
    Yes,
    No,
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self { error, stale: false }
    }
}
