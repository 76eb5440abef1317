//! Dev services pass over a rung that cannot provide, and say why.
//!
//! What the Docker client takes from the environment it takes once per process: each case runs in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![cfg(all(feature = "dev-services", feature = "redis"))]

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use hafnium_testkit::dev::{DevError, DevServices, Rung};

const CASE: &str = "HAFNIUM_TEST_CASE";

/// Runs the calling test again, alone, with this environment. `false` in that second process.
fn elsewhere(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(CASE).is_some() {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(CASE, test)
        .env_remove("HAFNIUM_DEV_VELOCITY");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "the case did not run: {text}");
    true
}

fn services() -> DevServices {
    DevServices::new("dev-ladder-test").unwrap()
}

#[tokio::test]
async fn without_a_daemon_the_installed_server_takes_over_and_says_why() {
    let test = "without_a_daemon_the_installed_server_takes_over_and_says_why";
    if elsewhere(test, &[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]) {
        return;
    }
    let velocity = services().redis("velocity").await.unwrap();
    assert_eq!(velocity.rung, Rung::Local);
    assert!(
        velocity.why.contains("docker: no daemon answers"),
        "{}",
        velocity.why
    );
}

#[tokio::test]
async fn when_nothing_can_provide_the_error_lists_what_was_tried_and_two_fixes() {
    let test = "when_nothing_can_provide_the_error_lists_what_was_tried_and_two_fixes";
    // No redis-server on this PATH.
    if elsewhere(
        test,
        &[
            ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
            ("PATH", "/nonexistent"),
        ],
    ) {
        return;
    }
    let error = services().redis("velocity").await.unwrap_err();
    let DevError::Nothing { tried, fixes, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        tried.iter().map(|tried| tried.rung).collect::<Vec<_>>(),
        [Rung::Docker, Rung::Local]
    );
    assert!(
        tried[1].reason.contains("redis-server is not installed"),
        "{}",
        tried[1].reason
    );
    assert!(fixes.iter().all(|fix| error.to_string().contains(fix)), "{error}");
}

/// One that accepts and never answers, as a daemon that is starting or stuck.
#[tokio::test]
async fn a_silent_daemon_costs_two_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    let listener = std::env::var_os(CASE)
        .is_none()
        .then(|| UnixListener::bind(&socket).unwrap());
    if elsewhere("a_silent_daemon_costs_two_seconds", &[("DOCKER_HOST", &address)]) {
        drop(listener);
        return;
    }
    let start = Instant::now();
    let error = services()
        .pins_from(|_| Some("docker".into()))
        .redis("velocity")
        .await
        .unwrap_err();
    let took = start.elapsed();
    assert!(
        error
            .to_string()
            .contains("waited 2s for an answer of the daemon"),
        "{error}"
    );
    assert!((2..4).contains(&took.as_secs()), "{took:?}");
}

/// Needs a daemon: `scripts/with-docker cargo test …`.
#[tokio::test]
async fn a_daemon_that_cannot_get_the_image_is_passed_over() {
    let test = "a_daemon_that_cannot_get_the_image_is_passed_over";
    if elsewhere(test, &[("HAFNIUM_TEST_IMAGE_REDIS", "registry.invalid/redis:1")]) {
        return;
    }
    let start = Instant::now();
    let velocity = services().redis("velocity").await.unwrap();
    assert_eq!(velocity.rung, Rung::Local);
    assert!(
        velocity.why.contains("registry.invalid/redis:1 cannot be had"),
        "{}",
        velocity.why
    );
    assert!(start.elapsed() < Duration::from_secs(60));
}
