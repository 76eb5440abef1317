//! Why a call of an upstream gave no answer that its caller wanted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::problem::UpstreamProblem;
use super::response::Response;
use super::status;
use crate::classify::{Classify, Fault, Outcome};
use crate::config::ByteSize;
use crate::deadline::DeadlineExceeded;
use crate::resilience::{BreakerOpen, BulkheadFull};

/// Why a call gave no answer that its caller wanted. [`Classify`] says whether it happened.
///
/// | error | outcome | retryable | fault | code |
/// |---|---|---|---|---|
/// | [`Request`](Self::Request) | `NotRun`; a stream that failed while it was sent: `Unknown` | no | service | `upstream.request` |
/// | [`Open`](Self::Open), [`Full`](Self::Full) | `NotRun` | yes | dependency, capacity | `breaker.open`, `bulkhead.…` |
/// | [`NoAddress`](Self::NoAddress) | `NotRun` | yes | dependency | `upstream.resolve` |
/// | [`Connect`](Self::Connect) | `NotRun` | unless it is TLS | dependency | `upstream.connect`, `…connect_timeout`, `…tls` |
/// | [`Broken`](Self::Broken) before the request was sent | `NotRun` | yes | dependency | `upstream.closed` |
/// | [`Broken`](Self::Broken) afterwards | `Unknown` | yes | dependency | `upstream.broken` |
/// | [`Deadline`](Self::Deadline) before the request was sent | `NotRun` | no | dependency | `upstream.deadline_exceeded` |
/// | [`Deadline`](Self::Deadline) afterwards | `Unknown` | no; an attempt's own: yes | dependency | `upstream.deadline_exceeded` |
/// | [`TooLarge`](Self::TooLarge), [`Decode`](Self::Decode) | `Unknown` | no | dependency | `upstream.too_large`, `upstream.decode` |
/// | [`Status`](Self::Status) | see [its table](Self::Status) | | | `upstream.<status>` |
///
/// What is retryable and `Unknown` is repeated for idempotent calls only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The request can't be made: a path without a slash, a header that is none, a value that is no JSON, a stream that
    /// fails.
    #[error("{upstream}: the request can't be made: {reason}")]
    Request {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What is wrong.
        reason: String,
        /// Whether anything of the request may have been read.
        sent: bool,
    },
    /// The breaker is open.
    #[error(transparent)]
    Open(#[from] BreakerOpen),
    /// There is no room for another call.
    #[error(transparent)]
    Full(#[from] BulkheadFull),
    /// The name has no address.
    #[error("{upstream}: no address of {host}: {reason}")]
    NoAddress {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The host that was looked up.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection was opened.
    #[error("{upstream}: {reason}")]
    Connect {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was tried, and what came of it.
        reason: String,
        /// Whether trying again may help: not where TLS does not come about.
        retryable: bool,
        /// The stable code.
        code: &'static str,
    },
    /// The connection broke.
    #[error("{upstream}: {address} broke off {}: {reason}", stage(*.sent))]
    Broken {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// Whether anything of the request may have been read.
        sent: bool,
        /// What was seen.
        reason: String,
    },
    /// The deadline came first.
    #[error("{upstream}: {late}")]
    Deadline {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was waited for.
        late: DeadlineExceeded,
        /// Whether anything of the request may have been read.
        sent: bool,
        /// Whether it was the limit of one attempt, and the call has time left.
        attempt: bool,
    },
    /// The answer's body is larger than `body_limit`.
    #[error("{upstream}: the answer is larger than {limit}")]
    TooLarge {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The limit.
        limit: ByteSize,
    },
    /// The answer's body is not what was expected.
    #[error("{upstream}: the answer is not as expected: {reason}")]
    Decode {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Where it differs, without its values.
        reason: String,
    },
    /// The answer is an error that the call did not [accept](super::Call::accept).
    ///
    /// | status | outcome | retryable | fault |
    /// |---|---|---|---|
    /// | 429 | `NotRun` | yes | capacity |
    /// | 503 with `Retry-After` | `NotRun` | yes | capacity |
    /// | 408, 425 | `NotRun` | yes | dependency |
    /// | other 4xx | `NotRun` | no | service: the request was not what the upstream takes |
    /// | 502, 503, 504 | `Unknown` | yes | dependency |
    /// | other 5xx | `Unknown` | no | dependency |
    ///
    /// An `application/problem+json` body with `outcome` (as services of this house answer) is believed for 5xx: then
    /// `not_run` and `rolled_back` are retryable whatever the method, where the table says retryable. `unknown` is
    /// believed for every status. The outcome is `Unknown` too where another exchange of the call (on a kept connection
    /// that broke, or beside a hedge) may have taken effect.
    #[error("{}: {} answered {}{}", .response.upstream(), .response.address(), .response.status(), said(.problem.as_deref()))]
    Status {
        /// The whole answer.
        response: Box<Response>,
        /// What its body says of the problem, if it says it as `application/problem+json`.
        problem: Option<Box<UpstreamProblem>>,
    },
}

fn stage(sent: bool) -> &'static str {
    match sent {
        true => "before its answer was complete",
        false => "before the request was sent",
    }
}

/// The problem's stable parts. Its `detail` may hold values of the caller; it is in the error, and not in its text.
fn said(problem: Option<&UpstreamProblem>) -> String {
    match problem.and_then(|problem| problem.code.as_deref()) {
        Some(code) => format!(" ({})", code.escape_debug()),
        None => String::new(),
    }
}

impl UpstreamError {
    /// The status of the answer, if there is one.
    pub fn status(&self) -> Option<StatusCode> {
        self.response().map(Response::status)
    }

    /// The answer, if there is one.
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Status { response, .. } => Some(response),
            _ => None,
        }
    }

    /// What the answer's `application/problem+json` body says.
    pub fn problem(&self) -> Option<&UpstreamProblem> {
        match self {
            Self::Status { problem, .. } => problem.as_deref(),
            _ => None,
        }
    }

    /// The same where another exchange of the call may have taken effect whatever this answer says.
    pub(super) fn doubted(mut self) -> Self {
        if let Self::Status { response, .. } = &mut self {
            response.doubted = true;
        }
        self
    }

    /// Whether the upstream has judged the request, so that it works whatever it said.
    pub(super) fn is_judgement(&self) -> bool {
        matches!(self, Self::Status { .. }) && self.fault() == Fault::Service
    }

    fn classified(&self) -> (Outcome, bool, Fault, &'static str) {
        use Fault::{Dependency, Service};
        use Outcome::{NotRun, Unknown};
        let after = |sent: bool| if sent { Unknown } else { NotRun };
        match self {
            Self::Request { sent, .. } => (after(*sent), false, Service, "upstream.request"),
            Self::Open(open) => (open.outcome(), open.retryable(), open.fault(), open.code()),
            Self::Full(full) => (full.outcome(), full.retryable(), full.fault(), full.code()),
            Self::NoAddress { .. } => (NotRun, true, Dependency, "upstream.resolve"),
            Self::Connect { retryable, code, .. } => (NotRun, *retryable, Dependency, code),
            Self::Broken { sent: false, .. } => (NotRun, true, Dependency, "upstream.closed"),
            Self::Broken { sent: true, .. } => (Unknown, true, Dependency, "upstream.broken"),
            Self::Deadline { sent, attempt, .. } => {
                (after(*sent), *attempt, Dependency, "upstream.deadline_exceeded")
            }
            Self::TooLarge { .. } => (Unknown, false, Dependency, "upstream.too_large"),
            Self::Decode { .. } => (Unknown, false, Dependency, "upstream.decode"),
            Self::Status { response, problem } => {
                let class = status::classify(response.status(), response.retry_after().is_some());
                let said = problem.as_ref().and_then(|problem| problem.outcome());
                let outcome = match said {
                    _ if response.doubted => Unknown,
                    Some(Unknown) => Unknown,
                    Some(said) if response.status().is_server_error() => said,
                    _ => class.outcome(),
                };
                (outcome, class.retryable(), class.fault(), class.code())
            }
        }
    }
}

impl Classify for UpstreamError {
    fn outcome(&self) -> Outcome {
        self.classified().0
    }
    fn retryable(&self) -> bool {
        self.classified().1
    }
    fn fault(&self) -> Fault {
        self.classified().2
    }
    fn code(&self) -> &'static str {
        self.classified().3
    }
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(open) => open.retry_after(),
            Self::Status { response, .. } => response.retry_after(),
            _ => None,
        }
    }
}
