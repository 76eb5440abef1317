//! What a reader of the README tries first: greet, configure, probe, stop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../hafnium-service/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use support::Launch;
use support::http::get;

const LIMIT: Duration = Duration::from_secs(20);

fn quickstart() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_quickstart")).variable("ENVIRONMENT", "dev")
}

#[tokio::test]
async fn it_greets_as_configured_and_stops_cleanly_without_any_server() {
    let launch = quickstart().file("hafnium.toml", "[settings]\ngreeting = \"Moin\"\n");
    let mut service = launch.start();
    service.ready(LIMIT).await;
    let answer = service.ask(get("/greet/Ada")).await;
    assert_eq!(
        (answer.status, &answer.json()["text"]),
        (200, &"Moin, Ada!".into())
    );
    let long = service.ask(get(format!("/greet/{}", "a".repeat(65)))).await;
    assert_eq!(
        (long.status, long.header("content-type")),
        (400, "application/problem+json")
    );
    assert!(
        service
            .probe("/metrics")
            .await
            .body
            .contains("route=\"/greet/{name}\"")
    );
    let ended = service.stop(Duration::from_secs(5)).await;
    assert_eq!(ended.exited(0), "");
}

#[tokio::test]
async fn a_variable_wins_over_the_file() {
    let launch = quickstart().file("hafnium.toml", "[settings]\ngreeting = \"Moin\"\n");
    let mut service = launch.variable("HAFNIUM__SETTINGS__GREETING", "Servus").start();
    service.ready(LIMIT).await;
    assert_eq!(
        service.ask(get("/greet/Ada")).await.json()["text"],
        "Servus, Ada!"
    );
}

#[tokio::test]
async fn a_misspelled_setting_is_refused() {
    let ended = quickstart()
        .variable("HAFNIUM__SETTINGS__GREETNG", "Servus")
        .finish(LIMIT)
        .await;
    let report = ended.exited(78);
    assert!(report.contains("did you mean `settings.greeting`?"), "{report}");
}
