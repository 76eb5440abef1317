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
    use super::*;

    #[test]
    fn a_change_lasts_a_quarter_of_an_hour_unless_asked_otherwise() {
        assert_eq!(lasting(None), Ok(Duration::from_secs(900)));
        assert_eq!(lasting(Some("for=5m")), Ok(Duration::from_secs(300)));
        for wrong in ["for=5", "for=0s", "for=25h", "for=", "fro=5m"] {
            assert!(lasting(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
