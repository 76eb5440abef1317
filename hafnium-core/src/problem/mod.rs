//! Errors over HTTP: `application/problem+json` (RFC 9457), from any classified error.
//!
//! | error | status | `Retry-After` |
//! |---|---|---|
//! | code ends in `deadline_exceeded` | 504 | |
//! | fault [`Caller`](Fault::Caller) | 400 | |
//! | certainly not in effect (`NotRun`, `RolledBack`) and retryable | 503 | 1 s |
//! | fault [`Capacity`](Fault::Capacity), certainly not in effect | 503 | 1 s |
//! | fault [`Dependency`](Fault::Dependency), otherwise | 502 | |
//! | fault [`Service`](Fault::Service), and everything else | 500 | |
//!
//! The first row that fits counts. `Retry-After` is longer than 1 s where the error says so
//! ([`Classify::retry_after`]), as that of an open breaker does. The body has `type`, `title`, `status`, and where known `detail`, `code` and
//! `outcome` (`not_run`, `rolled_back`, `unknown`), so that a caller knows whether repeating can do a thing twice. It
//! never holds the error's text: that may name SQL, addresses or values. The text is logged.
//!
//! ```
//! use axum::extract::Path;
//! use hafnium_core::problem::{Json, Problem};
//! use hafnium_core::DeadlineExceeded;
//!
//! async fn score(Path(id): Path<u64>) -> Result<Json<u64>, Problem> {
//!     let score = load(id).await?; // any error that is `Classify`
//!     score.map(Json).ok_or_else(|| Problem::not_found("no such score"))
//! }
//! # async fn load(_: u64) -> Result<Option<u64>, DeadlineExceeded> { Ok(None) }
//! ```

mod json;

use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value};

pub use json::Json;

use crate::classify::{Classify, Fault, Outcome};

/// Seconds after which a caller may try again what failed for want of a server or of room. Failovers take longer, a
/// full pool takes less; callers add their own backoff.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error as the caller sees it; what a handler returns. The fields are private: see the module for the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Problem {
    status: StatusCode,
    detail: Option<String>,
    code: Option<&'static str>,
    outcome: Option<Outcome>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem of that status, titled with the status's own phrase.
    pub fn of(status: StatusCode) -> Self {
        Self {
            status,
            detail: None,
            code: None,
            outcome: None,
            retry_after: None,
        }
    }

    /// 400 with what the caller can change.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST).detail(detail)
    }

    /// 404 with what was not found.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND).detail(detail)
    }

    /// 422 with what the caller can change.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY).detail(detail)
    }

    /// 409 with what stands in the way.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::CONFLICT).detail(detail)
    }

    pub(crate) fn body_too_large(limit: u64) -> Self {
        let limit = crate::config::ByteSize::from_bytes(limit);
        Self::of(StatusCode::PAYLOAD_TOO_LARGE)
            .code("body_too_large")
            .detail(format!("the body is larger than {limit}"))
    }

    /// 503, because too many requests are under way.
    pub(crate) fn overloaded(code: &'static str) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE)
            .code(code)
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// The handler was not asked.
    pub(crate) fn not_run(mut self) -> Self {
        self.outcome = Some(Outcome::NotRun);
        self
    }

    /// The handler was asked, and nobody knows how far it came.
    pub(crate) fn unknown(mut self) -> Self {
        self.outcome = Some(Outcome::Unknown);
        self
    }

    /// The problem of a classified error, by the table of the module.
    pub fn classified(error: &(impl Classify + ?Sized)) -> Self {
        let certain = matches!(error.outcome(), Outcome::NotRun | Outcome::RolledBack);
        let (status, retry_after) = match error.fault() {
            _ if error.code().ends_with("deadline_exceeded") => (StatusCode::GATEWAY_TIMEOUT, None),
            Fault::Caller => (StatusCode::BAD_REQUEST, None),
            Fault::Capacity if certain => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_AFTER_SECONDS)),
            _ if certain && error.retryable() => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_AFTER_SECONDS)),
            Fault::Dependency => (StatusCode::BAD_GATEWAY, None),
            Fault::Service | Fault::Capacity => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Self {
            status,
            detail: None,
            code: Some(error.code()),
            outcome: Some(error.outcome()),
            retry_after: retry_after.map(|least| error.retry_after().map_or(least, seconds_up).max(least)),
        }
    }

    /// Says more. Must not hold SQL, addresses, or values that are not the caller's own.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A stable code for programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// After how many seconds the caller may try again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), self.title().into());
        body.insert("status".into(), self.status.as_u16().into());
        if let Some(detail) = &self.detail {
            body.insert("detail".into(), detail.as_str().into());
        }
        if let Some(code) = self.code {
            body.insert("code".into(), code.into());
        }
        if let Some(outcome) = self.outcome {
            body.insert("outcome".into(), outcome.as_str().into());
        }
        Value::Object(body)
    }
}

/// Whole seconds that are not less than `wait`: the header knows no parts of one.
fn seconds_up(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// By the table of the module. A server's fault is logged here, because the answer does not say what happened.
impl<E: Classify + fmt::Display> From<E> for Problem {
    fn from(error: E) -> Self {
        let problem = Self::classified(&error);
        if problem.status.is_server_error() {
            tracing::warn!(
                code = error.code(),
                outcome = error.outcome().as_str(),
                fault = error.fault().as_str(),
                status = problem.status.as_u16(),
                "request failed: {error}"
            );
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failed(Outcome, bool, Fault, &'static str);

    impl Classify for Failed {
        fn outcome(&self) -> Outcome {
            self.0
        }
        fn retryable(&self) -> bool {
            self.1
        }
        fn fault(&self) -> Fault {
            self.2
        }
        fn code(&self) -> &'static str {
            self.3
        }
    }

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("10.0.0.7:5432 said: relation \"ledger\" does not exist")
        }
    }

    #[test]
    fn the_mapping_is_the_documented_table() {
        use Fault::{Caller, Capacity, Dependency, Service};
        use Outcome::{NotRun, RolledBack, Unknown};
        let rows = [
            (
                Failed(Unknown, false, Dependency, "postgres.deadline_exceeded"),
                504,
                None,
            ),
            (Failed(NotRun, true, Capacity, "deadline_exceeded"), 504, None),
            (Failed(NotRun, false, Caller, "postgres.22P02"), 400, None),
            (
                Failed(NotRun, true, Dependency, "postgres.refused"),
                503,
                Some("1"),
            ),
            (
                Failed(RolledBack, true, Dependency, "postgres.40001"),
                503,
                Some("1"),
            ),
            (Failed(NotRun, false, Capacity, "postgres.pool"), 503, Some("1")),
            (Failed(Unknown, false, Capacity, "x"), 500, None),
            (Failed(Unknown, true, Dependency, "redis.closed"), 502, None),
            (Failed(NotRun, false, Dependency, "postgres.25006"), 502, None),
            (Failed(NotRun, false, Service, "postgres.42P01"), 500, None),
        ];
        for (error, status, retry_after) in rows {
            let code = error.code();
            let response = Problem::from(error).into_response();
            assert_eq!(response.status().as_u16(), status, "{code}");
            let header = response
                .headers()
                .get(RETRY_AFTER)
                .map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{code}");
        }
    }

    #[test]
    fn the_body_says_code_and_outcome_and_never_the_errors_text() {
        let problem = Problem::from(Failed(
            Outcome::Unknown,
            false,
            Fault::Dependency,
            "postgres.08006",
        ));
        let body = problem.body();
        assert_eq!(body["status"], 502);
        assert_eq!(body["outcome"], "unknown");
        assert_eq!(body["code"], "postgres.08006");
        assert!(!body.to_string().contains("10.0.0.7") && !body.to_string().contains("ledger"));
    }
}
