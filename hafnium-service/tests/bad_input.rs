//! Bad input: what is wrong is said clearly, with the exit code or status of the contract, and nothing else is affected.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use support::http::{get, post};
use support::{Ended, Launch};

const START: Duration = Duration::from_secs(20);
/// Planted where a secret stands; must never be seen.
const CANARY: &str = "kanarienvogel-7f3a";

fn conformance(case: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case)
}

/// Starts with a configuration that must be refused; gives the report.
async fn refused(launch: Launch) -> String {
    let ended = launch.finish(START).await;
    let report = ended.exited(78).to_owned();
    let Ended { stdout, .. } = ended;
    assert!(
        !report.contains(CANARY) && !stdout.contains(CANARY),
        "a secret is shown:\n{report}\n{stdout}"
    );
    report
}

/// The line of the report about `key`.
fn line<'a>(report: &'a str, key: &str) -> &'a str {
    let found = report.lines().map(str::trim).find(|line| line.starts_with(key));
    found.unwrap_or_else(|| panic!("nothing about {key}: {report}"))
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_its_origin_and_the_nearest_known_one() {
    let report = refused(conformance("").file("hafnium.toml", "[http]\n\nbody_limt = \"1MiB\"\n")).await;
    let line = line(&report, "http.body_limt");
    assert!(
        line.contains("(hafnium.toml:3): unknown key; did you mean `http.body_limit`?"),
        "{report}"
    );
    assert!(line.contains("accepted: address, body_limit, "), "{report}");
}

#[tokio::test]
async fn a_wrong_unit_is_refused_with_what_is_accepted() {
    let report = refused(conformance("").variable("HAFNIUM__HTTP__REQUEST_TIMEOUT", "30")).await;
    let line = line(&report, "http.request_timeout (HAFNIUM__HTTP__REQUEST_TIMEOUT)");
    assert!(line.contains("found \"30\""), "{report}");
    assert!(
        line.contains("accepted: a duration such as \"250ms\", \"5s\""),
        "{report}"
    );
}

#[tokio::test]
async fn a_bad_url_is_refused_and_not_shown() {
    let url = format!("mysql://risk:{CANARY}@db/risk");
    let report = refused(conformance("database").variable("DATABASE_URL", url)).await;
    let line = line(&report, "postgres.ledger.url (DATABASE_URL)");
    assert!(
        line.contains("accepted: ") && line.contains("postgres://"),
        "{report}"
    );
}

#[tokio::test]
async fn a_missing_secret_file_is_named() {
    let launch = conformance("cache").variable("HAFNIUM__REDIS__VELOCITY__URL", "file:/nowhere/redis-url");
    let report = refused(launch).await;
    let line = line(&report, "redis.velocity.url (HAFNIUM__REDIS__VELOCITY__URL)");
    assert!(
        line.contains("/nowhere/redis-url") && line.contains("does not exist"),
        "{report}"
    );
}

#[tokio::test]
async fn a_value_that_a_client_refuses_is_named_by_its_own_key() {
    let launch = conformance("events")
        .variable("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
        .variable("HAFNIUM__KAFKA__EVENTS__PREFETCH_BYTES", "1B");
    let report = refused(launch).await;
    let line = line(
        &report,
        "kafka.events.prefetch_bytes (HAFNIUM__KAFKA__EVENTS__PREFETCH_BYTES): expected \"1KiB\"",
    );
    assert!(line.ends_with("; found \"1B\""), "{report}");
}

#[tokio::test]
async fn what_several_clients_refuse_is_in_one_report_with_every_origin() {
    for arguments in [&[][..], &["check"]] {
        let mut launch = conformance("reference")
            .file(
                "hafnium.toml",
                &format!(
                    "[kafka.events]\nrequest_timeout = \"1s\"\nprefetch_bytes = \"1B\"\nreqest_timeout = \"1s\"\n\n\
                     [kafka.events.librdkafka]\n\"acks\" = \"1\"\n\"sasl.password\" = \"{CANARY}\"\n\n\
                     [postgres.ledger]\nmax = 0\ntimeout = \"0s\"\nresolver = [\"nobody\"]\n\n\
                     [upstream.scoring]\nurl = \"http://scoring\"\ntls.server_name = \"scoring\"\n\n\
                     [health]\nruntime_stall = \"1ms\"\n\n\
                     [telemetry]\nlog_format = \"loud\"\nlog_filter = \"debgu=nothing\"\n"
                ),
            )
            .variable("DATABASE_URL", format!("postgres://risk:{CANARY}@db/risk?sslmod=disable"))
            .variable("REDIS_URL", format!("redis://:{CANARY}@velocity/zero"));
        for argument in arguments {
            launch = launch.argument(*argument);
        }
        let launch = launch.without("HAFNIUM__TELEMETRY__LOG_FORMAT");
        let report = refused(launch).await;
        for key in [
            "health.runtime_stall (hafnium.toml:20): must be at least 1s",
            "kafka.events.bootstrap_servers (hafnium.toml:1): missing",
            "kafka.events.librdkafka.acks (hafnium.toml:7): can't be set",
            "kafka.events.librdkafka.sasl.password (hafnium.toml:8): can't be set",
            "kafka.events.prefetch_bytes (hafnium.toml:3): expected",
            "kafka.events.reqest_timeout (hafnium.toml:4): unknown key",
            "kafka.events.request_timeout (hafnium.toml:2): expected",
            "postgres.ledger.max (hafnium.toml:11): must be at least 1; found 0",
            "postgres.ledger.resolver (hafnium.toml:13): \"nobody\" is no address",
            "postgres.ledger.timeout (hafnium.toml:12): must be longer than 0s; found \"0s\"",
            "postgres.ledger.url (DATABASE_URL): unknown parameter \"sslmod\"",
            "redis.velocity.url (REDIS_URL): the database is not a number",
            "telemetry.log_filter (hafnium.toml:24): ",
            "telemetry.log_format (hafnium.toml:23): not accepted",
            "upstream.scoring.tls (hafnium.toml:17): is set, and the URL is `http`",
        ] {
            line(&report, key);
        }
        assert!(
            report.starts_with("hafnium: configuration is invalid, 15 problems:"),
            "{report}"
        );
    }
}

#[tokio::test]
async fn every_problem_is_in_one_report_and_no_secret_is() {
    let launch = conformance("all")
        .file(
            "hafnium.toml",
            "[http]\nport = 99999\n\n[telemetri]\naccess_log = true\n",
        )
        .variable(
            "HAFNIUM__POSTGRES__LEDGER__URL",
            format!("mysql://risk:{CANARY}@db/risk"),
        )
        .variable("HAFNIUM__POSTGRES__LEDGER__PASWORD", CANARY)
        .variable("HAFNIUM__REDIS__VELOCITY__URL", "file:/nowhere/redis-url")
        .variable("HAFNIUM__HTTP__PORT", "many")
        .argument("--set")
        .argument("start.deadline=5");
    let report = refused(launch).await;
    for key in [
        "http.port (HAFNIUM__HTTP__PORT)",
        "kafka.events.bootstrap_servers: missing",
        "postgres.ledger.pasword (HAFNIUM__POSTGRES__LEDGER__PASWORD)",
        "postgres.ledger.url (HAFNIUM__POSTGRES__LEDGER__URL)",
        "redis.velocity.url (HAFNIUM__REDIS__VELOCITY__URL)",
        "start.deadline (--set)",
        "telemetri (hafnium.toml:4): unknown key; did you mean `telemetry`?",
    ] {
        line(&report, key);
    }
    assert!(
        report.starts_with("conformance: configuration is invalid, 7 problems:"),
        "{report}"
    );
}

#[tokio::test]
async fn a_sum_of_phases_beyond_the_grace_period_is_refused_with_the_sum() {
    let report = refused(conformance("").variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "15s")).await;
    assert!(report.contains("add up to 38s"), "{report}");
    assert!(report.contains("shutdown.termination_grace 30s"), "{report}");
}

#[tokio::test]
async fn where_something_deployed_us_the_environment_is_not_guessed() {
    let deployed = conformance("")
        .variable("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        .variable("ENVIRONMENT", "");
    let report = refused(deployed).await;
    assert!(line(&report, "environment").contains("prod"), "{report}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key_and_address() {
    for (key, variable) in [
        ("http.port", "HAFNIUM__HTTP__PORT"),
        ("admin.port", "HAFNIUM__ADMIN__PORT"),
    ] {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let report = refused(conformance("").variable(variable, port.to_string())).await;
        assert!(
            report.contains(&format!("{key}: 0.0.0.0:{port} is in use by another process")),
            "{report}"
        );
        assert_eq!(report.trim().lines().count(), 1, "{report}");
    }
}

#[tokio::test]
async fn an_unreachable_dependency_ends_the_start_with_69_within_its_deadline() {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    let postgres = format!("postgres://risk:{CANARY}@127.0.0.1:{closed}/risk");
    let redis = format!("redis://:{CANARY}@127.0.0.1:{closed}");
    for (case, component, variable, value) in [
        ("database", "postgres.ledger", "DATABASE_URL", postgres),
        ("cache", "redis.velocity", "REDIS_URL", redis),
        (
            "events",
            "kafka.events",
            "KAFKA_BOOTSTRAP_SERVERS",
            format!("127.0.0.1:{closed}"),
        ),
    ] {
        let launch = conformance(case)
            .variable(variable, value)
            .variable("HAFNIUM__START__DEADLINE", "4s");
        let mut service = launch.start();
        service.probes("/startupz", 503, START).await;
        // The operator listener answers before the first component is asked to start.
        let named = support::until("what it waits for", Duration::from_secs(3), async || {
            let body = service.probe("/startupz?verbose").await.body;
            match body.contains(&format!("[-]{component} failed: waiting for ")) {
                true => Ok(()),
                false => Err(body),
            }
        });
        named.await;
        assert_eq!(service.probe("/livez").await.status, 200, "{case}");
        assert_eq!(service.probe("/readyz").await.status, 503, "{case}");
        let tried = support::until("a reason", Duration::from_secs(3), async || {
            let body = service.probe("/startupz?verbose").await.body;
            if body.contains(" attempts: ") {
                Ok(body)
            } else {
                Err(body)
            }
        });
        let tried = tried.await;
        let ended = service.end(Duration::from_secs(8)).await;
        let reason = ended.exited(69);
        assert!(
            reason.starts_with(&format!("{component}: required dependency is unavailable: ")),
            "{reason}"
        );
        assert!(
            reason.contains("gave up after ") || reason.contains("no answer within "),
            "{reason}"
        );
        assert_eq!(reason.trim().lines().count(), 1, "{reason}");
        let said = format!("{tried}{reason}{}", ended.stdout);
        assert!(!said.contains(CANARY), "{said}");
    }
}

#[tokio::test]
async fn check_names_what_it_can_not_reach() {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    let launch = conformance("cache")
        .variable("REDIS_URL", format!("redis://:{CANARY}@127.0.0.1:{closed}"))
        .variable("HAFNIUM__START__DEADLINE", "1s")
        .argument("check");
    let ended = launch.finish(START).await;
    let said = ended.exited(69);
    assert!(
        said.contains("check failed: redis.velocity: required dependency is unavailable"),
        "{said}"
    );
    assert!(
        ended.stdout.contains("configuration: ok (environment staging)"),
        "{}",
        ended.stdout
    );
    assert!(!format!("{said}{}", ended.stdout).contains(CANARY));
}

#[tokio::test]
async fn a_command_that_is_not_understood_ends_with_2() {
    for arguments in [&["chek"][..], &["run", "--sett", "a=b"], &["--set"]] {
        let mut launch = conformance("");
        for argument in arguments {
            launch = launch.argument(*argument);
        }
        let ended = launch.finish(START).await;
        assert!(
            ended.exited(2).contains("For more information, try '--help'"),
            "{ended:?}"
        );
    }
    let ended = conformance("").argument("healthcheck").finish(START).await;
    assert!(ended.exited(1).contains("/livez: "), "{ended:?}");
}

#[tokio::test]
async fn bad_requests_get_their_status_and_the_service_goes_on() {
    let mut service = conformance("")
        .variable("HAFNIUM__HTTP__BODY_LIMIT", "1KiB")
        .start();
    service.ready(START).await;
    let json = "application/json";
    for (request, status, code) in [
        (post("/echo", json, vec![b' '; 2048]), 413, "body_too_large"),
        (post("/echo", "text/plain", "{}"), 415, "unsupported_media_type"),
        (post("/echo", json, "{"), 400, "malformed_body"),
        (post("/echo", json, "\u{1}"), 400, "malformed_body"),
        (get("/nowhere"), 404, ""),
        (get("/echo"), 405, ""),
        (get("/slow/soon"), 400, ""),
        (get("/broken"), 500, ""),
    ] {
        let answer = service.ask(request.clone()).await;
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        if !code.is_empty() {
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.json()["code"], code, "{answer:?}");
        }
        let next = service.ask(post("/echo", json, "{\"a\":1}")).await;
        assert_eq!(
            (next.status, next.body.as_str()),
            (200, "{\"a\":1}"),
            "after {request:?}"
        );
    }
    for path in [
        "/livezz",
        "/readyz/nobody",
        "/livez/nobody",
        "/readyz?exclude=nobody",
        "/nowhere",
    ] {
        assert_eq!(service.probe(path).await.status, 404, "{path}");
    }
    assert_eq!(service.probe("/readyz").await.status, 200);
    service.stop(Duration::from_secs(5)).await.exited(0);
}
