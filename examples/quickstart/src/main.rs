//! A greeting service: typed settings, probes, graceful shutdown, logs and metrics, and no server needed.

use hafnium::axum::extract::{Path, State};
use hafnium::axum::{Router, routing::get};
use hafnium::http::{Json, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Our own keys, below `settings`: in `hafnium.toml`, or as `HAFNIUM__SETTINGS__GREETING`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What everyone is greeted with.
    #[serde(default = "hello")]
    greeting: String,
}

fn hello() -> String {
    "Hello".into()
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

async fn greet(State(own): State<Settings>, Path(name): Path<String>) -> Result<Json<Greeting>, Problem> {
    if name.chars().count() > 64 {
        return Err(Problem::bad_request("a name has at most 64 characters"));
    }
    let text = format!("{}, {name}!", own.greeting);
    Ok(Json(Greeting { text }))
}

fn main() -> std::process::ExitCode {
    let service = hafnium::Service::new("quickstart", env!("CARGO_PKG_VERSION"));
    service.settings::<Settings>().run(async |app| {
        let routes = Router::new().route("/greet/{name}", get(greet));
        app.serve(routes.with_state(app.settings().clone()));
        Ok(())
    })
}
