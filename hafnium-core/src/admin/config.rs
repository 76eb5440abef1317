//! `/config`: every effective value with its origin, and how it relates to what the sources say now.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Admin;
use super::answer::json_answer;
use crate::config::Entry;
use crate::context::Context;

/// Secrets show as `***`, and where they were read.
pub(super) async fn config(State(admin): State<Admin>) -> Response {
    let live = admin.cx.config();
    let (config, standing) = (live.current(), live.standing());
    let entry = |entry: &Entry| {
        json!({
            "key": entry.key,
            "value": entry.value,
            "origin": entry.origin.to_string(),
            "secret": entry.secret.as_ref().map(ToString::to_string),
        })
    };
    let entries: Vec<Value> = config.entries().iter().map(entry).collect();
    let refused: Vec<String> = standing.refused.iter().map(ToString::to_string).collect();
    let body = json!({
        "environment": config.environment().as_str(),
        "place": place(&admin.cx),
        "confirmed_seconds_ago": standing.age(Instant::now()).as_secs_f64(),
        "refused": refused,
        "needs_a_restart": standing.restart,
        "entries": entries,
    });
    json_answer(true, &body)
}

/// Where this process stands.
pub(super) fn place(cx: &Context) -> Value {
    let place = cx.config().current().place();
    json!({
        "region": place.region,
        "zone": place.zone,
        "cell": place.cell,
        "role": place.role,
    })
}
