//! `cargo run -p risk-engine` alone: what is not configured is provided, and nothing of it stays.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../hafnium-service/tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Duration;

use hafnium_testkit::process::{ProcessId, ProcessState, tree_of};
use support::http::{get, post};
use support::{Launch, Service};

const LIMIT: Duration = Duration::from_secs(60);

/// In environment `dev` without any URL. Servers of this machine, because not every machine has Docker; that rung has
/// tests of its own.
fn alone() -> Launch {
    let mut launch = Launch::new(env!("CARGO_BIN_EXE_risk-engine")).variable("ENVIRONMENT", "dev");
    for name in ["LEDGER", "VELOCITY", "EVENTS"] {
        launch = launch.variable(format!("HAFNIUM_DEV_{name}"), "local");
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    if let Some(cache) = cache {
        launch = launch.variable("XDG_CACHE_HOME", cache.to_str().unwrap());
    }
    launch
}

/// The processes that the service started.
fn servers(service: &Service) -> Vec<ProcessId> {
    let own = ProcessId::of(service.id()).unwrap();
    tree_of(own)
        .into_iter()
        .filter(|process| *process != own)
        .collect()
}

async fn all_gone(servers: &[ProcessId]) {
    support::until(
        "everything that was started to be gone",
        Duration::from_secs(10),
        async || {
            let left: Vec<_> = servers
                .iter()
                .filter(|one| one.state() != ProcessState::Gone)
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    )
    .await;
}

#[tokio::test]
async fn alone_it_finds_everything_and_leaves_nothing() {
    let mut service = alone().start();
    service.ready(LIMIT).await;
    let body = r#"{"id":"pay-1","account":"acct-1","amount":2500}"#;
    let accepted = service.ask(post("/payments", "application/json", body)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let score = support::until("the score", LIMIT, async || {
        let answer = service.ask(get("/scores/pay-1")).await;
        if answer.status == 200 {
            Ok(answer.json())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    assert_eq!(score.await["velocity"], 1);
    let told: Vec<_> = service
        .log()
        .into_iter()
        .filter(|line| line["message"] == "dev service")
        .collect();
    let names: Vec<_> = told
        .iter()
        .map(|line| line["dependency"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ledger", "velocity", "events"]);

    let servers = servers(&service);
    assert!(servers.len() >= 3, "{servers:?}");
    assert_eq!(service.stop(Duration::from_secs(30)).await.code, Some(0));
    all_gone(&servers).await;
}

#[tokio::test]
async fn a_stop_while_servers_are_being_started_leaves_nothing_either() {
    let service = alone().start();
    let begun = support::until("a first server", LIMIT, async || {
        let servers = servers(&service);
        if servers.is_empty() {
            Err("none yet".to_owned())
        } else {
            Ok(servers)
        }
    });
    let mut seen = begun.await;
    seen.extend(servers(&service));
    let ended = service.stop(Duration::from_secs(10)).await;
    assert_eq!(ended.exited(0), "");
    all_gone(&seen).await;
}
