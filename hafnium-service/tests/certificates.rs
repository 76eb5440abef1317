//! Certificates and keys that can't work end the start before anything is waited for, and `check` finds them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use support::Launch;

const START: Duration = Duration::from_secs(30);

/// A certificate and its key as files of that name; gives what `http.tls` is told of both.
fn pair(directory: &Path, name: &str) -> [String; 2] {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    [("crt", cert.pem()), ("key", signing_key.serialize_pem())].map(|(kind, text)| {
        let path = directory.join(format!("{name}.{kind}"));
        std::fs::write(&path, text).unwrap();
        format!("file:{}", path.display())
    })
}

/// A service whose store can't be reached: nothing that is told after its start is ever told.
fn unreachable() -> Launch {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", "cache")
        .variable("REDIS_URL", format!("redis://127.0.0.1:{closed}"))
        .variable("HAFNIUM__START__DEADLINE", "5s")
}

async fn refused(launch: impl Fn() -> Launch, line: &str) {
    for command in ["run", "check"] {
        let ended = launch().argument(command).finish(START).await;
        let report = ended.exited(78);
        assert!(report.contains(line), "{command}: {report}");
        assert!(!ended.stdout.contains("configuration: ok"), "{}", ended.stdout);
        assert!(!report.contains("BEGIN") && !report.contains("MII"), "{report}");
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_told_with_every_other_problem() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, _] = pair(directory.path(), "one");
    let launch = || {
        unreachable()
            .variable("HAFNIUM__HTTP__TLS__CERTIFICATE", &certificate)
            .variable("HAFNIUM__HTTP__PRT", "1")
    };
    refused(launch, "http.tls.key: missing beside tls.certificate").await;
    refused(launch, "http.prt (HAFNIUM__HTTP__PRT): unknown key").await;
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_before_a_dependency_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, _] = pair(directory.path(), "one");
    let [_, key] = pair(directory.path(), "other");
    let launch = || {
        unreachable()
            .variable("HAFNIUM__HTTP__TLS__CERTIFICATE", &certificate)
            .variable("HAFNIUM__HTTP__TLS__KEY", &key)
    };
    let line = "http.tls.key (HAFNIUM__HTTP__TLS__KEY): does not belong to tls.certificate";
    refused(launch, line).await;
}

#[tokio::test]
async fn every_certificate_that_can_not_be_read_is_in_one_report() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["broken.crt", "broken.key"] {
        std::fs::write(directory.path().join(name), "no PEM").unwrap();
    }
    let file = |name: &str| format!("file:{}", directory.path().join(name).display());
    let launch = || {
        Launch::new(env!("CARGO_BIN_EXE_conformance"))
            .variable("CONFORMANCE_CASE", "upstream")
            .variable("HAFNIUM__UPSTREAM__SCORING__URL", "https://127.0.0.1:1")
            .variable("HAFNIUM__UPSTREAM__SCORING__TLS__CA", file("broken.crt"))
            .variable("HAFNIUM__HTTP__TLS__CERTIFICATE", file("broken.crt"))
            .variable("HAFNIUM__HTTP__TLS__KEY", file("broken.key"))
    };
    for line in [
        "conformance: configuration is invalid, 3 problems:",
        "http.tls.certificate (HAFNIUM__HTTP__TLS__CERTIFICATE): there is no certificate in PEM form",
        "http.tls.key (HAFNIUM__HTTP__TLS__KEY): there is no private key in PEM form",
        "upstream.scoring.tls.ca (HAFNIUM__UPSTREAM__SCORING__TLS__CA): there is no certificate in PEM form",
    ] {
        refused(launch, line).await;
    }
}

#[tokio::test]
async fn a_certificate_is_followed_from_before_the_first_component_starts() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = pair(directory.path(), "one");
    let mut service = unreachable()
        .variable("HAFNIUM__START__DEADLINE", "15s")
        .variable("HAFNIUM__HTTP__TLS__CERTIFICATE", certificate)
        .variable("HAFNIUM__HTTP__TLS__KEY", key)
        .start();
    service.probes("/startupz", 503, START).await;
    let waits = support::until("the store", Duration::from_secs(12), async || {
        let body = service.probe("/startupz?verbose").await.body;
        match body.contains("redis.velocity failed: waiting for ") {
            true => Ok(()),
            false => Err(body),
        }
    });
    waits.await;
    let report = service.probe("/report").await;
    assert!(report.body.contains("http.tls"), "{report:?}");
    service.end(START).await.exited(69);
}
