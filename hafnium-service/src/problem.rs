//! An answer of a handler that failed.

use std::error::Error;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hafnium_core::Classify;
use hafnium_core::problem::Problem as Core;

/// `application/problem+json` (RFC 9457), made by `?` from any error, or by name.
///
/// The status of an error follows what it says happened, by the table of [`hafnium_core::problem`]: certainly not run
/// and worth repeating is 503 with `Retry-After`, a deadline is 504, the caller's fault is 400. An error that no crate
/// of the house knows is a 500. The body never holds the error's text; that is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Problem(Core);

impl Problem {
    /// A problem of that status.
    pub fn of(status: StatusCode) -> Self {
        Self(Core::of(status))
    }

    /// 400 with what the caller can change.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self(Core::bad_request(detail))
    }

    /// 404 with what was not found.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self(Core::not_found(detail))
    }

    /// 409 with what stands in the way.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self(Core::conflict(detail))
    }

    /// 422 with what the caller can change.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self(Core::unprocessable(detail))
    }

    /// Says more. Must not hold SQL, addresses, or values that are not the caller's own.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self(self.0.detail(detail))
    }

    /// A stable code for programs.
    pub fn code(self, code: &'static str) -> Self {
        Self(self.0.code(code))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        let problem = match crate::classify(&error) {
            Some(classified) => {
                tracing::warn!(
                    code = classified.code(),
                    outcome = classified.outcome().as_str(),
                    "request failed: {error}"
                );
                Core::classified(&classified)
            }
            None => {
                tracing::error!("request failed: {error}");
                Core::of(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        Self(problem)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hafnium_core::DeadlineExceeded;

    use super::*;

    #[test]
    fn a_known_error_takes_its_row_of_the_table_also_inside_another_one() {
        #[derive(Debug, thiserror::Error)]
        #[error("scoring")]
        struct Outer(#[source] DeadlineExceeded);
        let late = DeadlineExceeded::new("a reply", Duration::from_secs(1));
        assert_eq!(Problem::from(late).status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(Problem::from(Outer(late)).status(), StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test]
    async fn what_a_breaker_or_a_bulkhead_refused_is_a_503_also_through_a_question_mark() {
        use hafnium_core::resilience::{Breaker, BreakerSettings, Bulkhead, BulkheadSettings};
        let mut settings = BreakerSettings::default();
        settings.minimum_calls = 1;
        let breaker = Breaker::new("b", &settings);
        let late = || DeadlineExceeded::new("a reply", Duration::from_secs(1));
        let failed = breaker.call(async { Err::<(), _>(late()) }).await.unwrap_err();
        assert_eq!(Problem::from(failed).status(), StatusCode::GATEWAY_TIMEOUT);
        let refused = breaker.call(async { Err::<(), _>(late()) }).await.unwrap_err();
        let response = Problem::from(refused).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "5");
        let mut settings = BulkheadSettings::default();
        (settings.max_concurrent, settings.max_queued) = (1, 0);
        let bulkhead = Bulkhead::new("b", &settings);
        let _held = bulkhead.enter().await.unwrap();
        let refused = bulkhead.run(async { Err::<(), _>(late()) }).await.unwrap_err();
        assert_eq!(Problem::from(refused).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn an_unknown_error_is_a_500_and_does_not_show_its_text() {
        let problem = Problem::from(std::io::Error::other("canary"));
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!format!("{problem:?}").contains("canary"));
    }
}
