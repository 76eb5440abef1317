//! A service that holds secrets of every kind and does everything to show them that a service may do by mistake.

use std::process::ExitCode;

use hafnium::axum::Router;
use hafnium::axum::routing::get;
use hafnium::secret::{Login, Secret};
use hafnium::{App, Service, SetupError, tracing};

/// Secrets from each kind of source.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Canaries {
    variable: Secret,
    file: Secret,
    #[serde(default)]
    literal: Option<Secret>,
    #[serde(default)]
    tree: Option<Secret>,
    #[serde(default)]
    manager: Option<Secret>,
    #[serde(default)]
    parameter: Option<Secret>,
    #[serde(default)]
    login: Option<Login>,
    #[serde(default)]
    #[schemars(extend("x-url-schemes" = ["https"]))]
    #[allow(dead_code, reason = "only shown")]
    url: Option<Secret>,
}

/// Runs the case of that name, if it is one of these.
pub(crate) fn case(name: &str, service: Service) -> Option<ExitCode> {
    let service = service
        .settings::<Canaries>()
        .alias("CANARY", "settings.variable");
    let code = match name {
        "canaries" => service.redis("velocity").run(async |app| serve(app)),
        "canaries-alone" => service.run(async |app| serve(app)),
        "canaries-panic" => service.run(async |app: App<Canaries>| {
            let canaries = app.settings().clone();
            app.spawn("shaky", async move { panic!("as the test asks: {canaries:?}") });
            serve(app)
        }),
        "canaries-fail" => service.run(async |app: App<Canaries>| {
            Err(SetupError::new(format!("as the test asks: {:?}", app.settings())))
        }),
        _ => return None,
    };
    Some(code)
}

fn serve(app: App<Canaries>) -> Result<(), SetupError> {
    let shown = app.settings().clone();
    let measured = app.settings().clone();
    let held = app.settings().clone();
    let routes = Router::new()
        .route("/", get(async || "hello\n"))
        .route(
            "/show",
            get(async move || {
                let value = shown.file.current();
                tracing::error!(settings = ?shown, ?value, "shown by mistake");
                format!("{shown:?} {value:?} {}", shown.file)
            }),
        )
        .route("/lengths", get(async move || lengths(&measured)))
        .route(
            "/panic",
            get(async move || -> &'static str {
                let value = held.file.current();
                panic!("with {value:?} in hand")
            }),
        );
    app.serve(routes);
    Ok(())
}

/// How long each value is: shows that they came, and nothing else of them.
fn lengths(canaries: &Canaries) -> String {
    let optional = [
        &canaries.literal,
        &canaries.tree,
        &canaries.manager,
        &canaries.parameter,
    ];
    let login = canaries.login.as_ref().map(Login::secret);
    let secrets = [Some(&canaries.variable), Some(&canaries.file)];
    let secrets = secrets
        .into_iter()
        .chain(optional.map(Option::as_ref))
        .chain([login]);
    let lengths = secrets.map(|secret| match secret {
        Some(secret) => secret.current().expose().len().to_string(),
        None => "-".to_owned(),
    });
    lengths.collect::<Vec<_>>().join(" ")
}
