//! The endpoints of the operator listener.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::Admin;
use super::probes::{Line, Probe, up};
use crate::health::{CheckReport, Scope};

/// All endpoints, answered by `admin`.
pub(super) fn router(admin: Admin) -> Router {
    let mut router = Router::new();
    for probe in Probe::ALL {
        let name = probe.name();
        router = router
            .route(
                &format!("/{name}"),
                get(
                    move |State(admin): State<Admin>, query: RawQuery, headers: HeaderMap| {
                        std::future::ready(whole(&admin, probe, &query, &headers))
                    },
                ),
            )
            .route(
                &format!("/{name}/{{check}}"),
                get(
                    move |State(admin): State<Admin>, Path(check): Path<String>, headers: HeaderMap| {
                        std::future::ready(single(&admin, probe, &check, &headers))
                    },
                ),
            );
    }
    router
        .route("/report", get(report))
        .route("/info", get(info))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .with_state(admin)
}

/// The query of a probe.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    verbose: bool,
    exclude: Vec<String>,
}

impl Wanted {
    fn parse(query: Option<&str>) -> Self {
        let mut wanted = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "verbose" => wanted.verbose = true,
                "exclude" => wanted.exclude.push(value.into_owned()),
                _ => {}
            }
        }
        wanted
    }
}

fn whole(admin: &Admin, probe: Probe, query: &RawQuery, headers: &HeaderMap) -> Response {
    let wanted = Wanted::parse(query.0.as_deref());
    let mut lines = admin.probes.ask(probe);
    let unknown: Vec<&String> = wanted
        .exclude
        .iter()
        .filter(|name| !lines.iter().any(|line| line.name == **name))
        .collect();
    if let Some(name) = unknown.first() {
        return no_such_check(probe, name, &lines);
    }
    lines.retain(|line| !wanted.exclude.contains(&line.name));
    let passed = lines.iter().all(Line::passes);
    if wants_json(headers) {
        let checks: Vec<Value> = lines.iter().map(Line::json).collect();
        return json_answer(passed, &json!({ "status": up(passed), "checks": checks }));
    }
    // A probe that fails says why without being asked: kubelet shows the beginning of the body in an event.
    let mut text = String::new();
    if wanted.verbose || !passed {
        text.extend(lines.iter().map(Line::verbose));
        for name in &wanted.exclude {
            text.push_str(&format!("[+]{name} excluded\n"));
        }
    }
    text.push_str(&match (wanted.verbose, passed) {
        (false, true) => "ok\n".to_owned(),
        (true, true) => format!("{} check passed\n", probe.name()),
        (_, false) => format!("{} check failed\n", probe.name()),
    });
    text_answer(passed, text)
}

fn single(admin: &Admin, probe: Probe, name: &str, headers: &HeaderMap) -> Response {
    let lines = admin.probes.ask(probe);
    let Some(line) = lines.iter().find(|line| line.name == name) else {
        return no_such_check(probe, name, &lines);
    };
    if wants_json(headers) {
        return json_answer(
            line.well,
            &json!({ "status": up(line.well), "checks": [line.json()] }),
        );
    }
    text_answer(line.well, line.verbose())
}

async fn report(State(admin): State<Admin>) -> Response {
    let report = admin.probes.report();
    let checks: Vec<Value> = report.checks.iter().map(check_json).collect();
    let watchdogs: Vec<Value> = report
        .pulses
        .iter()
        .map(|pulse| {
            json!({
                "name": pulse.name,
                "alive": pulse.is_alive(),
                "silent_seconds": pulse.silent.as_secs_f64(),
                "limit_seconds": pulse.limit.as_secs_f64(),
            })
        })
        .collect();
    let body = json!({
        "state": admin.probes.state().as_str(),
        "ready": admin.probes.is_ready(),
        "checks": checks,
        "watchdogs": watchdogs,
    });
    json_answer(true, &body)
}

fn check_json(check: &CheckReport) -> Value {
    json!({
        "name": check.name,
        "health": check.health.as_str(),
        "scope": match check.scope { Scope::Own => "own", Scope::Shared => "shared" },
        "counts_for_readiness": check.counts,
        "reason": check.reason,
        "failures_in_a_row": check.failures,
        "since_seconds": check.since.as_secs_f64(),
        "last_run_seconds_ago": check.last_run.map(|ago| ago.as_secs_f64()),
        "last_run_took_seconds": check.took.as_secs_f64(),
    })
}

async fn info(State(admin): State<Admin>) -> Response {
    let body = json!({
        "name": admin.service.name,
        "version": admin.service.version,
        "instance": admin.service.instance,
        "state": admin.probes.state().as_str(),
        "uptime_seconds": admin.begun.elapsed().as_secs_f64(),
    });
    json_answer(true, &body)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = (admin.metrics)();
    answer(StatusCode::OK, "text/plain; version=0.0.4", text)
}

async fn unknown() -> Response {
    let probes: Vec<String> = Probe::ALL
        .iter()
        .map(|probe| format!("/{}", probe.name()))
        .collect();
    let text = format!(
        "not found; known here: {}, each with /<check>, and /report, /info, /metrics\n",
        probes.join(", ")
    );
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
}

fn no_such_check(probe: Probe, name: &str, lines: &[Line]) -> Response {
    let known: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    let text = format!(
        "{} knows no check {name:?}; known: {}\n",
        probe.name(),
        known.join(", ")
    );
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("application/json"))
    })
}

fn status(well: bool) -> StatusCode {
    if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn json_answer(well: bool, body: &Value) -> Response {
    answer(status(well), "application/json", body.to_string())
}

fn text_answer(well: bool, text: String) -> Response {
    answer(status(well), "text/plain; charset=utf-8", text)
}

/// Nothing here may be cached: a probe answered by a cache is a lie.
fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_probe_may_repeat_what_it_excludes() {
        let wanted = Wanted::parse(Some("verbose&exclude=redis.velocity&exclude=a%2Fb&other=1"));
        assert!(wanted.verbose);
        assert_eq!(wanted.exclude, ["redis.velocity", "a/b"]);
        assert_eq!(Wanted::parse(None), Wanted::default());
    }
}
