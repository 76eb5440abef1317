//! The operator listener of the service that does all by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::http::{HeaderMap, StatusCode};
use hafnium::axum::routing::get;

/// What it answers from.
pub(crate) struct Operator {
    fault: String,
    draining: Arc<AtomicBool>,
    asked: AtomicUsize,
    first_value: String,
    first_token: String,
}

impl Operator {
    pub(crate) fn new(fault: &str, draining: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            fault: fault.to_owned(),
            draining,
            asked: AtomicUsize::new(0),
            first_value: mounted_value(),
            first_token: mounted_token(),
        })
    }

    pub(crate) fn routes(self: Arc<Self>) -> Router {
        let (live, started, ready, report, config) =
            (self.clone(), self.clone(), self.clone(), self.clone(), self);
        Router::new()
            .route("/livez", get(async move || live.live()))
            .route("/startupz", get(async move || started.started().await))
            .route("/readyz", get(async move || ready.ready()))
            .route("/report", get(async move || report.report()))
            .route(
                "/config",
                get(async move |headers: HeaderMap| config.config(&headers)),
            )
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn live(&self) -> StatusCode {
        answer(!self.is("dies-with-dependency") || dependency_is_there())
    }

    async fn started(&self) -> StatusCode {
        if self.is("slow-probe") && self.asked.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
        StatusCode::OK
    }

    fn ready(&self) -> StatusCode {
        let drains = self.draining.load(Ordering::Relaxed) && !self.is("ready-while-draining");
        answer(!drains && !self.is("never-ready"))
    }

    fn report(&self) -> String {
        let up = self.is("loss-unseen") || dependency_is_there();
        let health = if up { "up" } else { "down" };
        format!(r#"{{"checks": [{{"name": "file.marker", "health": "{health}"}}]}}"#)
    }

    fn config(&self, headers: &HeaderMap) -> Result<String, StatusCode> {
        if headers.contains_key("x-forwarded-for") {
            let is = |token: &str| {
                let bearer = format!("Bearer {token}");
                headers
                    .get("authorization")
                    .is_some_and(|sent| sent == bearer.as_str())
            };
            let (first, now) = (is(&self.first_token), is(&mounted_token()));
            match self.fault.as_str() {
                "rotation-ignored" if first => {}
                "rotation-ignored" => return Err(StatusCode::UNAUTHORIZED),
                "old-token-stays" if first => {}
                "old-token-breaks" if !now => return Err(StatusCode::INTERNAL_SERVER_ERROR),
                _ if now => {}
                _ => return Err(StatusCode::UNAUTHORIZED),
            }
        }
        let value = match self.is("reload-ignored") {
            true => self.first_value.clone(),
            false => mounted_value(),
        };
        let workers = match self.is("many-workers") {
            true => "4".to_owned(),
            false => std::env::var("HAFNIUM__RUNTIME__WORKERS").unwrap_or_default(),
        };
        Ok(format!(
            r#"{{"entries": [{{"key": "http.idle_timeout", "value": "{value}"}},
                {{"key": "runtime.workers", "value": "{workers}"}}]}}"#
        ))
    }
}

fn answer(well: bool) -> StatusCode {
    match well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What the service depends on: a file, if one is named.
pub(crate) fn dependency_is_there() -> bool {
    std::env::var_os("DEPENDENCY").is_none_or(|path| std::path::Path::new(&path).exists())
}

fn mounted_value() -> String {
    let directory = std::env::var("HAFNIUM_CONFIG_DIR").unwrap_or_default();
    std::fs::read_to_string(format!("{directory}/http.idle_timeout")).unwrap_or_default()
}

fn mounted_token() -> String {
    let token = std::env::var("HAFNIUM__ADMIN__TOKEN").unwrap_or_default();
    std::fs::read_to_string(token.trim_start_matches("file:")).unwrap_or_default()
}
