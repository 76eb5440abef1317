//! A greeting service: typed settings, probes, graceful shutdown, logs and metrics, and no server needed.

use hafnium::axum::extract::{Path, State};
use hafnium::axum::{Router, routing::get};
use schemars::JsonSchema;
use serde::Deserialize;

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

async fn greet(State(settings): State<Settings>, Path(name): Path<String>) -> String {
    format!("{}, {name}!\n", settings.greeting)
}

fn main() -> std::process::ExitCode {
    hafnium::Service::new("quickstart", env!("CARGO_PKG_VERSION")).settings::<Settings>().run(async |app| {
        let routes = Router::new().route("/greet/{name}", get(greet)).with_state(app.settings().clone());
        app.serve(routes);
        Ok(())
    })
}
