//! The HTTP client of a declared upstream against real servers and real faults.
#![allow(clippy::disallowed_methods, reason = "the servers are real: so is the time")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![allow(clippy::print_stdout, reason = "it prints the table of faults")]

mod addresses;
mod cancel;
mod carry;
mod faults;
mod hedging;
mod limits;
mod metrics;
#[path = "../recorded/mod.rs"]
mod recorded;
mod server;
mod stale;
#[cfg(feature = "tls")]
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::upstream::{Resolve, Upstream, UpstreamError, UpstreamSettings};
use hafnium_core::{BoxFuture, Classify, Context, Outcome};

/// The addresses of a name that a test changes as it likes.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn of(addresses: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(addresses.to_vec())))
    }

    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().clone()) })
    }
}

/// Settings without pauses that would make tests slow, and without a breaker that would hide what is tested.
fn settings() -> UpstreamSettings {
    let mut settings = UpstreamSettings::new("http://scoring.test:80");
    settings.retry.backoff = Duration::from_millis(1).into();
    settings.breaker.minimum_calls = 1_000_000;
    settings.resolve_interval = Duration::from_secs(1).into();
    settings
}

fn upstream_of(addresses: &[SocketAddr], settings: &UpstreamSettings) -> Upstream {
    upstream_by(Names::of(addresses), settings, &Context::standalone())
}

fn upstream_by(names: Names, settings: &UpstreamSettings, cx: &Context) -> Upstream {
    let upstream = Upstream::with_resolver("scoring", settings, cx, names).unwrap();
    upstream.open();
    upstream
}

/// One line of the table of faults.
fn row(fault: &str, method: &str, result: &Result<hafnium_core::upstream::Response, UpstreamError>) {
    match result {
        Ok(answer) => println!(
            "| {fault:<44} | {method:<5} | {:<9} | {:<26} |",
            "answered",
            answer.status().as_u16()
        ),
        Err(error) => println!(
            "| {fault:<44} | {method:<5} | {:<9} | {:<26} | {error}",
            error.outcome().as_str(),
            error.code(),
        ),
    }
}

fn is(result: &Result<hafnium_core::upstream::Response, UpstreamError>, outcome: Outcome, code: &str) {
    let error = result.as_ref().expect_err("an error");
    assert_eq!((error.outcome(), error.code()), (outcome, code), "{error}");
}

/// Waits until `holds`, for at most 10 s.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
