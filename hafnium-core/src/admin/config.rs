//! `/config`: every effective value with its origin, and how it relates to what the sources say now.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Admin;
use super::answer::json_answer;
use crate::context::Context;

/// As the command `config` prints it with `--format json`: secrets show as `***`, and where they were read.
pub(super) async fn config(State(admin): State<Admin>) -> Response {
    let live = admin.cx.config();
    let (config, standing) = (live.current(), live.standing());
    let refused: Vec<String> = standing.refused.iter().map(ToString::to_string).collect();
    let mut body = config.render_json();
    body["confirmed_seconds_ago"] = json!(standing.age(Instant::now()).as_secs_f64());
    body["refused"] = json!(refused);
    body["needs_a_restart"] = json!(standing.restart);
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
