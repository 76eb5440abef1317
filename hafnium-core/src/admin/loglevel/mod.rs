//! `/loglevel`: what is logged, changed for a while. It goes back by itself, because nobody remembers to.
//!
//! `GET` says what is in force; `PUT` with a filter as its body changes it for 15 min, or for `?for=5m`; `DELETE` takes
//! the change back at once.

mod directives;
mod temporary;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::StringRejection;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use self::directives::{ACCEPTED, check};
use self::temporary::Temporary;
use super::answer::{answer, json_answer};
use crate::config;

/// For how long a change is in force, unless asked otherwise.
const DEFAULT: Duration = Duration::from_secs(15 * 60);
/// For how long it can be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A filter is a line.
const BODY: usize = 4096;

/// What is logged by this process, as the operator listener changes it. Telemetry implements it; nothing here knows how
/// lines are written.
pub trait LogFilter: Send + Sync + 'static {
    /// The filter in force.
    fn current(&self) -> String;

    /// Logs by `filter` from now on.
    ///
    /// # Errors
    /// Why it can't be read; the present one stays in force.
    fn set(&self, filter: &str) -> Result<(), String>;
}

/// The log filter of a process and the change of it that is in force. Cheap to clone.
#[derive(Clone)]
pub(super) struct LogLevel {
    filter: Arc<dyn LogFilter>,
    temporary: Arc<Mutex<Temporary>>,
}

impl LogLevel {
    pub(super) fn new(filter: Arc<dyn LogFilter>) -> Self {
        Self {
            filter,
            temporary: Arc::default(),
        }
    }

    /// `/loglevel` alone.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/loglevel", get(show).put(change).delete(take_back))
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(self)
    }

    /// Held over the change itself, so that two callers can't mix their filters. Nothing waits in it.
    fn lock(&self) -> MutexGuard<'_, Temporary> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, filter: &str, lasts: Duration) -> Result<(), String> {
        let mut temporary = self.lock();
        let before = self.filter.current();
        self.filter.set(filter)?;
        let until = Instant::now() + lasts;
        let change = temporary.begin(before, until);
        drop(temporary);
        let level = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            let mut temporary = level.lock();
            if let Some(before) = temporary.expire(change) {
                level.restore(&before, "its time is over");
            }
        });
        Ok(())
    }

    fn take_back(&self) {
        let mut temporary = self.lock();
        if let Some(before) = temporary.end() {
            self.restore(&before, "asked for");
        }
    }

    fn restore(&self, filter: &str, because: &'static str) {
        match self.filter.set(filter) {
            Ok(()) => tracing::info!(filter, because, "the log filter is back"),
            Err(reason) => tracing::error!(filter, reason, "the log filter can't be set back"),
        }
    }

    fn answer(&self) -> Response {
        let temporary = self.lock();
        let left = temporary.until().map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            left.as_secs_f64().round()
        });
        let body = json!({
            "filter": self.filter.current(),
            "reverts_to": temporary.before(),
            "reverts_in_seconds": left,
        });
        json_answer(true, &body)
    }
}

async fn show(State(level): State<LogLevel>) -> Response {
    level.answer()
}

async fn change(
    State(level): State<LogLevel>,
    query: RawQuery,
    body: Result<String, StringRejection>,
) -> Response {
    let filter = match body {
        Ok(body) => body.trim().to_owned(),
        Err(rejection) => return refused(rejection.status(), &rejection.body_text()),
    };
    let bad = |reason: &str| refused(StatusCode::BAD_REQUEST, reason);
    let lasts = match lasting(query.0.as_deref()) {
        Ok(lasts) => lasts,
        Err(reason) => return bad(&reason),
    };
    if let Err(reason) = check(&filter).and_then(|()| level.change(&filter, lasts)) {
        return bad(&format!("{reason}; {ACCEPTED}"));
    }
    tracing::info!(
        filter,
        ?lasts,
        "the log filter was changed over the operator listener"
    );
    level.answer()
}

async fn take_back(State(level): State<LogLevel>) -> Response {
    level.take_back();
    level.answer()
}

fn refused(status: StatusCode, reason: &str) -> Response {
    answer(status, "text/plain; charset=utf-8", format!("{reason}\n"))
}

/// How long a change shall last, by the query.
fn lasting(query: Option<&str>) -> Result<Duration, String> {
    let mut lasts = DEFAULT;
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if key != "for" {
            return Err(format!("{key:?} is not known here; accepted is for=5m"));
        }
        let wanted = value.parse::<config::Duration>().map(config::Duration::get);
        lasts = match wanted {
            Ok(wanted) if (Duration::from_secs(1)..=LONGEST).contains(&wanted) => wanted,
            _ => {
                return Err(format!(
                    "for: expected {} from \"1s\" to \"24h\"",
                    config::Duration::EXPECTED
                ));
            }
        };
    }
    Ok(lasts)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    /// The filter of a process that logs nothing.
    struct Filter(Mutex<String>);

    impl LogFilter for Filter {
        fn current(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn set(&self, filter: &str) -> Result<(), String> {
            filter.clone_into(&mut self.0.lock().unwrap());
            Ok(())
        }
    }

    fn log_level() -> LogLevel {
        LogLevel::new(Arc::new(Filter(Mutex::new("info".to_owned()))))
    }

    async fn send(level: &LogLevel, method: &str, query: &str, body: &'static str) -> Value {
        let request = Request::builder().method(method).uri(format!("/loglevel{query}"));
        let request = request.body(Body::from(body)).unwrap();
        let response = level.clone().router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_filter_goes_back_by_itself_after_15_minutes_or_as_long_as_was_asked_for() {
        for (query, seconds) in [("", 15 * 60), ("?for=5m", 5 * 60), ("?for=24h", 24 * 60 * 60)] {
            let level = log_level();
            let changed = send(&level, "PUT", query, "debug\n").await;
            assert_eq!(changed["filter"], "debug");
            assert_eq!(changed["reverts_to"], "info");
            assert_eq!(changed["reverts_in_seconds"], f64::from(seconds), "{query}");
            pass(u64::try_from(seconds).unwrap() - 1).await;
            let nearly = send(&level, "GET", "", "").await;
            assert_eq!(
                (&nearly["filter"], &nearly["reverts_in_seconds"]),
                (&"debug".into(), &1.0.into())
            );
            pass(2).await;
            let back = send(&level, "GET", "", "").await;
            assert_eq!(back["filter"], "info", "{query}");
            assert!(
                back["reverts_to"].is_null() && back["reverts_in_seconds"].is_null(),
                "{back}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_change_is_not_ended_by_the_timer_of_an_earlier_one() {
        let level = log_level();
        send(&level, "PUT", "?for=1m", "debug").await;
        pass(30).await;
        let later = send(&level, "PUT", "", "trace,sqlx=warn").await;
        assert_eq!(later["reverts_to"], "info", "not what was changed in between");
        pass(14 * 60).await;
        assert_eq!(send(&level, "GET", "", "").await["filter"], "trace,sqlx=warn");
        pass(61).await;
        assert_eq!(send(&level, "GET", "", "").await["filter"], "info");
        // One that was taken back leaves a timer that has nothing to end.
        send(&level, "PUT", "?for=1m", "debug").await;
        assert_eq!(send(&level, "DELETE", "", "").await["filter"], "info");
        level.filter.set("warn").unwrap();
        pass(120).await;
        assert_eq!(level.filter.current(), "warn");
    }

    #[test]
    fn a_change_lasts_a_quarter_of_an_hour_unless_asked_otherwise() {
        assert_eq!(lasting(None), Ok(Duration::from_secs(900)));
        assert_eq!(lasting(Some("for=5m")), Ok(Duration::from_secs(300)));
        for wrong in ["for=5", "for=0s", "for=25h", "for=", "fro=5m"] {
            assert!(lasting(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
