//! The service that the conformance tests run: one case per process, chosen by `CONFORMANCE_CASE`.

mod canaries;
mod lifecycle;

use std::process::ExitCode;
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::extract::Path;
use hafnium::axum::routing::{get, post};
use hafnium::http::{Json, Problem};
use hafnium::kafka::{Failure, Record};
use hafnium::{Service, SetupError};

fn main() -> ExitCode {
    let case = std::env::var("CONFORMANCE_CASE").unwrap_or_default();
    let name = if case == "reference" {
        "hafnium"
    } else {
        "conformance"
    };
    let service = Service::new(name, env!("CARGO_PKG_VERSION")).commit(Some("0123abc"));
    let consuming =
        |service: Service| service.consumer("payments", |one| one.topic("payments").group("conformance"));
    match case.as_str() {
        "database" => service.postgres("ledger", |ledger| ledger).run(serve),
        "databases" => service
            .postgres("ledger", |ledger| ledger)
            .postgres("audit", |audit| audit)
            .run(naming),
        "migrating" => service
            .postgres("ledger", |ledger| ledger.migrations(&MIGRATIONS))
            .upstream("scoring", |scoring| scoring)
            .run(serve),
        "cache" => service.redis("velocity").run(serve),
        "events" => service.kafka("events").run(serve),
        "all" => service
            .postgres("ledger", |ledger| ledger)
            .redis("velocity")
            .kafka("events")
            .run(serve),
        // Everything that has keys, for docs/reference.
        "reference" => service
            .postgres("ledger", |ledger| ledger)
            .redis("velocity")
            .kafka("events")
            .upstream("scoring", |scoring| scoring)
            .run(serve),
        "upstream" => service.upstream("scoring", |scoring| scoring).run(asking),
        "misspelled-upstream" => service.upstream("scoring", |scoring| scoring).run(async |app| {
            app.upstream("scorng")?;
            Ok(())
        }),
        "settings" => service
            .settings::<Settings>()
            .alias("SECRET_KEY", "settings.secret_key")
            .run(async |_| Ok(())),
        "unhandled-consumer" => consuming(service).run(serve),
        "misspelled-consumer" => consuming(service).run(async |app| {
            app.consume("paymnets", ignore);
            Ok(())
        }),
        "misspelled-redis" => service.run(async |app| {
            app.redis("velocty")?;
            Ok(())
        }),
        "failing-set-up" => service.run(async |_| Err(SetupError::new("the model can't be read"))),
        "" => service.run(serve),
        other if other.starts_with("canaries") => canaries::case(other, service)
            .unwrap_or_else(|| panic!("CONFORMANCE_CASE: no case is called {other:?}")),
        other => lifecycle::case(other, service)
            .unwrap_or_else(|| panic!("CONFORMANCE_CASE: no case is called {other:?}")),
    }
}

/// None at all, which is enough to be asked for them.
static MIGRATIONS: hafnium::sqlx::migrate::Migrator = hafnium::sqlx::migrate::Migrator::DEFAULT;

/// A service's own keys.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What everyone is greeted with.
    #[serde(default = "hello")]
    #[schemars(extend("x-reloadable" = true))]
    #[allow(dead_code, reason = "only shown")]
    greeting: String,
    /// Signs the sessions.
    #[allow(dead_code, reason = "only shown")]
    secret_key: hafnium::secret::Secret,
}

fn hello() -> String {
    "Hello".to_owned()
}

async fn serve(app: hafnium::App) -> Result<(), SetupError> {
    let routes = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/slow/{milliseconds}", get(slow))
        .route("/block/{milliseconds}", get(lifecycle::block))
        .route("/broken", get(broken))
        .route(
            "/echo",
            post(async |Json(value): Json<serde_json::Value>| Json(value)),
        );
    app.serve(routes);
    Ok(())
}

/// Tells which database a declared name stands for.
async fn naming(app: hafnium::App) -> Result<(), SetupError> {
    let databases = [app.postgres("ledger")?, app.postgres("audit")?];
    let name = async move |database: usize| -> Result<String, Problem> {
        let current = hafnium::sqlx::query_scalar("SELECT current_database()");
        let current: String = current.fetch_one(&databases[database]).await?;
        Ok(current)
    };
    let (first, second) = (name.clone(), name);
    let routes = Router::new()
        .route("/ledger", get(async move || first(0).await))
        .route("/audit", get(async move || second(1).await));
    app.serve(routes);
    Ok(())
}

/// Hands each request on to the upstream, as a service between two others does.
async fn asking(app: hafnium::App) -> Result<(), SetupError> {
    let scoring = app.upstream("scoring")?;
    let score =
        async move || -> Result<String, Problem> { Ok(scoring.get("/score").await?.text()?.to_owned()) };
    app.serve(Router::new().route("/score", get(score)));
    Ok(())
}

async fn slow(Path(milliseconds): Path<u64>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    "done\n"
}

async fn broken() -> &'static str {
    panic!("the handler is broken")
}

async fn ignore(_: Record<serde_json::Value>) -> Result<(), Failure> {
    Ok(())
}
