//! The endpoints of the operator listener.

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::access::guard;
use super::answer::{answer, json_answer};
use super::config::{config, place};
use super::loglevel::LogLevel;
use super::page::page;
use super::probes::Probe;
use crate::health::{CheckReport, Scope};

/// All endpoints, answered by `admin`.
pub(super) fn router(admin: Admin) -> Router {
    let probes = admin.probes.routes();
    let sensitive = sensitive(&admin);
    Router::new()
        .route("/", get(page))
        .route("/report", get(report))
        .route("/topology", get(topology))
        .route("/info", get(info))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .with_state(admin)
        .merge(probes)
        .merge(sensitive)
}

/// What shows the configuration, and whatever changes anything.
fn sensitive(admin: &Admin) -> Router {
    let mut router = Router::new()
        .route("/config", get(config))
        .with_state(admin.clone());
    if let Some(filter) = &admin.log_filter {
        router = router.merge(LogLevel::new(filter.clone()).router());
    }
    let access = admin.access.clone();
    router.route_layer(from_fn_with_state(access, guard))
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

async fn topology(State(admin): State<Admin>) -> Response {
    let body = json!({
        "service": admin.cx.service().name,
        "instance": admin.cx.service().instance,
        "place": place(&admin.cx),
        "dependencies": admin.cx.topology().report(),
    });
    json_answer(true, &body)
}

async fn info(State(admin): State<Admin>) -> Response {
    let (service, build) = (admin.cx.service(), &admin.build);
    let body = json!({
        "name": service.name,
        "version": service.version,
        "instance": service.instance,
        "state": admin.probes.state().as_str(),
        "started": admin.started(),
        "uptime_seconds": admin.begun.elapsed().as_secs_f64(),
        "pid": std::process::id(),
        "place": place(&admin.cx),
        "build": {
            "commit": service.commit,
            "rustc": build.rustc,
            "features": build.features,
            "release": build.release,
        },
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
        "not found; known here: /, {}, each with /<check>, and /report, /topology, /info, /metrics, /config, /loglevel\n",
        probes.join(", ")
    );
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
}
