//! Each command of a service's own binary, as a person or an orchestrator runs it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use hafnium_testkit::process::free_ports;
use support::{Ended, Launch};

const LIMIT: Duration = Duration::from_secs(20);
/// Planted where a secret stands; must never be seen.
const CANARY: &str = "kanarienvogel-2b9c";

fn conformance(case: &str, arguments: &[&str]) -> Launch {
    let launch = Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case);
    arguments
        .iter()
        .fold(launch, |launch, argument| launch.argument(*argument))
}

/// Runs to a clean end; gives what was printed.
async fn printed(launch: Launch) -> String {
    let ended = launch.finish(LIMIT).await;
    ended.exited(0);
    let Ended { stdout, stderr, .. } = ended;
    assert!(!format!("{stdout}{stderr}").contains(CANARY), "a secret is shown");
    stdout
}

#[tokio::test]
async fn config_shows_each_value_with_its_origin_and_secrets_as_stars() {
    let launch = conformance("settings", &["config", "--set", "region=eu-west-1"])
        .file("hafnium.toml", "[settings]\ngreeting = \"Hi\"\n")
        .variable("SECRET_KEY", CANARY);
    let text = printed(launch).await;
    for line in [
        "# conformance, environment staging: said by ENVIRONMENT",
        "http.request_timeout = 30s (default)",
        "region = eu-west-1 (--set)",
        "role = active (default)",
        "settings.greeting = Hi (hafnium.toml:2)",
        "telemetry.log_format = json (HAFNIUM__TELEMETRY__LOG_FORMAT)",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line:?}:\n{text}"
        );
    }
    let secret = text
        .lines()
        .find(|line| line.starts_with("settings.secret_key"))
        .unwrap();
    assert!(
        secret.starts_with("settings.secret_key = *** (SECRET_KEY, env:SECRET_KEY, version "),
        "{secret}"
    );
}

#[tokio::test]
async fn config_is_also_a_document() {
    let launch = conformance("settings", &["config", "--format", "json"]).variable("SECRET_KEY", CANARY);
    let document: serde_json::Value = serde_json::from_str(&printed(launch).await).unwrap();
    assert_eq!(document["environment"], "staging");
    assert_eq!(document["place"]["role"], "active");
    let values = document["entries"].as_array().unwrap();
    let value = |key: &str| values.iter().find(|value| value["key"] == key).unwrap();
    assert_eq!(value("settings.greeting")["value"], "Hello");
    assert_eq!(value("settings.greeting")["origin"], "default");
    assert_eq!(value("settings.secret_key")["value"], "***");
    assert_eq!(value("settings.secret_key")["secret"], "env:SECRET_KEY");
    assert!(value("settings.secret_key")["version"].is_string());
}

#[tokio::test]
async fn config_shows_what_is_set_also_where_something_is_missing_and_says_so() {
    let ended = conformance("settings", &["config"]).finish(LIMIT).await;
    let report = ended.exited(78);
    assert!(
        ended.stdout.contains("settings.greeting = Hello (default)"),
        "{}",
        ended.stdout
    );
    assert!(
        report.contains("settings.secret_key: missing; set it in hafnium.toml or as HAFNIUM__SETTINGS__SECRET_KEY or SECRET_KEY"),
        "{report}"
    );
}

#[tokio::test]
async fn config_needs_no_environment_where_something_deployed_it_and_keeps_the_strict_rules() {
    let deployed = |launch: Launch| {
        launch
            .variable("KUBERNETES_SERVICE_HOST", "10.0.0.1")
            .variable("ENVIRONMENT", "")
            .variable("SECRET_KEY", "x")
    };
    let text = printed(deployed(conformance("settings", &["config"]))).await;
    assert!(
        text.starts_with("# conformance, environment prod: nobody said which, and the strict rules hold")
    );
    let launch = conformance("settings", &["config"]).file("hafnium.toml", "settings.secret_key = \"x\"\n");
    let ended = deployed(launch).variable("SECRET_KEY", "").finish(LIMIT).await;
    assert!(
        ended.exited(78).contains("outside dev only a reference may"),
        "{ended:?}"
    );
    // The others that do without one: a usage error or a refused connection is not a missing environment.
    for (command, code) in [("version", 0), ("migrate", 2), ("healthcheck", 1)] {
        let ended = deployed(conformance("settings", &[command])).finish(LIMIT).await;
        assert!(!ended.exited(code).contains("environment"), "{ended:?}");
    }
    // With a database that is declared: it is asked for, not for an environment; and a literal in a file is refused.
    let closed = free_ports(1).unwrap()[0];
    let migrating =
        || deployed(conformance("migrating", &["migrate"])).variable("HAFNIUM__START__DEADLINE", "1s");
    let url = format!("postgres://u:{CANARY}@127.0.0.1:{closed}/ledger?sslmode=disable");
    let ended = migrating().variable("DATABASE_URL", &url).finish(LIMIT).await;
    assert!(!ended.exited(69).contains("environment"), "{ended:?}");
    let literal = format!("postgres.ledger.url = \"{url}\"\n");
    let ended = migrating().file("hafnium.toml", &literal).finish(LIMIT).await;
    assert!(
        ended.exited(78).contains("outside dev only a reference may"),
        "{ended:?}"
    );
    for command in ["run", "check"] {
        let ended = deployed(conformance("settings", &[command])).finish(LIMIT).await;
        assert!(
            ended.exited(78).contains("set ENVIRONMENT or --environment"),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn nothing_is_provided_outside_dev_nor_where_something_deployed_the_service() {
    let staging = conformance("cache", &["run"]).variable("ENVIRONMENT", "staging");
    let deployed = conformance("cache", &["run"])
        .variable("ENVIRONMENT", "dev")
        .variable("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    for launch in [staging, deployed] {
        let ended = launch.finish(LIMIT).await;
        assert!(
            ended.exited(78).contains("redis.velocity.url: missing"),
            "{ended:?}"
        );
        assert!(!ended.stderr.contains("dev services"), "{ended:?}");
    }
}

#[tokio::test]
async fn schema_and_reference_hold_the_services_own_keys() {
    let schema = printed(conformance("settings", &["config", "--schema"])).await;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema.pointer("/properties/settings").is_some(), "{schema}");
    let reference = printed(conformance("settings", &["config", "--reference"])).await;
    for row in [
        "| `settings.greeting`<br>`HAFNIUM__SETTINGS__GREETING` | text | `Hello` | live | What everyone is greeted with. |",
        "| `settings.secret_key`<br>`HAFNIUM__SETTINGS__SECRET_KEY`<br>`SECRET_KEY` | a secret, or a reference such as \
         env:NAME or file:/path | **required** |  | Signs the sessions. |",
    ] {
        assert!(
            reference.lines().any(|line| line == row),
            "no row {row}:\n{reference}"
        );
    }
    let ended = conformance("", &["config", "--schema", "--reference"])
        .finish(LIMIT)
        .await;
    assert!(ended.exited(2).contains("cannot be used with"), "{ended:?}");
}

#[tokio::test]
async fn version_names_the_service() {
    let version = format!("conformance {}\n", env!("CARGO_PKG_VERSION"));
    for argument in ["version", "--version"] {
        assert_eq!(printed(conformance("", &[argument])).await, version);
    }
}

#[tokio::test]
async fn help_names_every_command_and_shows_examples() {
    let help = printed(conformance("", &["--help"])).await;
    let commands = [
        "run",
        "check",
        "config",
        "migrate",
        "healthcheck",
        "version",
        "completions",
    ];
    for command in commands {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{help}"
        );
        let help = printed(conformance("", &[command, "--help"])).await;
        assert!(
            help.contains("Examples:\n") && help.contains("conformance"),
            "{help}"
        );
        assert!(
            help.contains("--set <KEY=VALUE>") && help.contains("--environment <NAME>"),
            "{help}"
        );
    }
    assert!(help.contains("78 invalid configuration"), "{help}");
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    for (shell, begins) in [
        ("bash", "_conformance()"),
        ("zsh", "#compdef conformance"),
        ("fish", "complete -c conformance"),
    ] {
        let script = printed(conformance("", &["completions", shell])).await;
        assert!(
            script.contains(begins) && script.contains("healthcheck"),
            "{shell}: {script}"
        );
    }
    let ended = conformance("", &["completions", "tcsh"]).finish(LIMIT).await;
    assert!(ended.exited(2).contains("possible values: bash"), "{ended:?}");
}

#[tokio::test]
async fn migrate_says_where_there_is_nothing_to_migrate() {
    for (case, reason) in [
        (
            "cache",
            "conformance declares no database, so there is nothing to migrate",
        ),
        (
            "database",
            "conformance declares no migrations of its databases, so there is nothing to migrate",
        ),
    ] {
        let ended = conformance(case, &["migrate"]).finish(LIMIT).await;
        assert_eq!(ended.exited(2).trim(), reason);
    }
}

#[tokio::test]
async fn migrate_needs_neither_the_upstreams_nor_secrets_of_other_parts() {
    let ended = conformance("migrating", &["migrate"])
        .variable(
            "HAFNIUM__POSTGRES__LEDGER__URL",
            "postgres://app@127.0.0.1:1/ledger",
        )
        .variable("HAFNIUM__ADMIN__TOKEN", "env:NOT_IN_AN_INIT_CONTAINER")
        .variable("VAULT_ADDR", "http://127.0.0.1:1")
        .variable("HAFNIUM__VAULT__TOKEN", "file:/not/in/an/init/container")
        .variable("HAFNIUM__START__DEADLINE", "1s")
        .finish(LIMIT)
        .await;
    // Nobody listens there, which is as far as it gets without a database.
    assert!(ended.exited(69).contains("postgres"), "{ended:?}");
}

#[tokio::test]
async fn healthcheck_asks_without_any_secret() {
    let mut service = conformance("", &[]).start();
    service.ready(LIMIT).await;
    let asked = conformance("settings", &["healthcheck"])
        .variable("HAFNIUM__ADMIN__PORT", service.admin.to_string())
        .variable("HAFNIUM__ADMIN__TOKEN", "vault:secret/admin#token")
        .variable("VAULT_ADDR", "http://127.0.0.1:1")
        .variable("HAFNIUM__VAULT__TOKEN", "x")
        .variable("SECRET_KEY", "env:NOT_SET");
    assert_eq!(printed(asked).await, "");
    service.stop(LIMIT).await.exited(0);
}

#[tokio::test]
async fn config_shows_what_there_is_also_where_a_reference_leads_nowhere_and_says_so() {
    for (reference, reason) in [
        ("env:NOT_SET", "is not set"),
        ("file:/not/there", "the file does not exist"),
    ] {
        let launch = conformance("settings", &["config"]).variable("SECRET_KEY", reference);
        let ended = launch.finish(LIMIT).await;
        assert!(ended.exited(78).contains(reason), "{ended:?}");
        let line = format!("settings.secret_key = *** (SECRET_KEY, {reference}, version not there)");
        assert!(ended.stdout.lines().any(|found| found == line), "{ended:?}");
    }
}

#[tokio::test]
async fn a_running_service_is_live_to_healthcheck_and_a_missing_one_is_not() {
    let mut service = conformance("", &[]).start();
    service.ready(LIMIT).await;
    let asked = conformance("", &["healthcheck"]).variable("HAFNIUM__ADMIN__PORT", service.admin.to_string());
    assert_eq!(printed(asked).await, "");
    let ended = conformance("", &["healthcheck"]).finish(LIMIT).await;
    assert!(ended.exited(1).contains("/livez: "), "{ended:?}");
    service.stop(LIMIT).await.exited(0);
}

/// A peer that takes one connection and answers it like that; gives its port.
fn peer(answer: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || answer(listener.accept().unwrap().0));
    port
}

#[tokio::test]
async fn healthcheck_takes_a_second_at_most_and_only_200_for_an_answer() {
    let silent = peer(|stream| {
        std::thread::sleep(LIMIT);
        drop(stream);
    });
    let dripping = peer(|mut stream| {
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let says = |status: &'static str| {
        peer(move |mut stream| {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 9\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            // Nobody needs to wait for the rest.
            std::thread::sleep(LIMIT);
        })
    };
    for (port, code, reason) in [
        (silent, 1, "/livez: no answer within 1s"),
        (dripping, 1, "/livez: no answer within 1s"),
        (
            says("503 Service Unavailable"),
            1,
            "/livez answered 503 Service Unavailable",
        ),
        (says("2000 Nearly"), 1, "/livez answered 2000 Nearly"),
        (says("200 OK"), 0, ""),
        (says("200"), 0, ""),
    ] {
        let asked = conformance("", &["healthcheck"]).variable("HAFNIUM__ADMIN__PORT", port.to_string());
        let ended = asked.finish(LIMIT).await;
        assert!(ended.exited(code).trim().ends_with(reason), "{reason}: {ended:?}");
        assert!(ended.took < Duration::from_secs(5), "{reason}: {:?}", ended.took);
    }
}

#[tokio::test]
async fn set_and_environment_win_over_everything_else() {
    let launch = conformance(
        "",
        &[
            "config",
            "--environment",
            "production",
            "--set",
            "http.request_timeout=9s",
        ],
    )
    .file(
        "hafnium.prod.toml",
        "[http]\nrequest_timeout = \"8s\"\nheader_timeout = \"7s\"\n",
    )
    .variable("HAFNIUM__HTTP__REQUEST_TIMEOUT", "6s");
    let text = printed(launch).await;
    for line in [
        "# conformance, environment prod: said by --environment",
        "environment = production (--environment)",
        "http.request_timeout = 9s (--set)",
        "http.header_timeout = 7s (hafnium.prod.toml:3)",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line:?}:\n{text}"
        );
    }
    let ended = conformance("", &["config", "--set", CANARY]).finish(LIMIT).await;
    assert!(
        ended.exited(78).contains("--set: argument 1 is not of the form"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains(CANARY));
}

#[tokio::test]
async fn check_warns_of_each_lax_setting_in_prod_and_of_secrets_that_can_not_rotate_everywhere() {
    let closed = hafnium_testkit::process::free_ports(1).unwrap()[0];
    let launch = |environment: &str| {
        conformance("all", &["check", "--environment", environment])
            .file(
                "hafnium.toml",
                "telemetry.log_format = \"human\"\ntelemetry.otlp_endpoint = \"http://collector:4318\"\n\
                 kafka.events.auto_create_topics = true\n",
            )
            .variable("HAFNIUM__TELEMETRY__LOG_FORMAT", "human")
            .variable("HAFNIUM__START__DEADLINE", "1s")
            .variable(
                "DATABASE_URL",
                format!("postgres://u:{CANARY}@192.0.2.1:{closed}/db?sslmode=prefer"),
            )
            .variable("REDIS_URL", format!("redis://:{CANARY}@192.0.2.1:{closed}"))
            .variable("KAFKA_BOOTSTRAP_SERVERS", format!("127.0.0.1:{closed}"))
    };
    let ended = launch("prod").finish(LIMIT).await;
    assert_eq!(ended.code, Some(69), "{ended:?}");
    for warning in [
        "warning: http.tls.certificate: not set",
        "warning: kafka.events.auto_create_topics (hafnium.toml:3): is true: a misspelled topic",
        "warning: kafka.events.librdkafka: security.protocol is plaintext: TLS is off",
        "warning: postgres.ledger.url (DATABASE_URL): TLS is not insisted on",
        "warning: redis.velocity.url (REDIS_URL): TLS is off",
        "note: secret postgres.ledger.url (env:DATABASE_URL): an environment variable never changes",
        "note: secret redis.velocity.url (env:REDIS_URL): an environment variable never changes",
        "warning: shutdown.drain_delay (HAFNIUM__SHUTDOWN__DRAIN_DELAY): is 0s",
        "warning: telemetry.log_format (HAFNIUM__TELEMETRY__LOG_FORMAT): is human",
        "warning: telemetry.otlp_endpoint (hafnium.toml:2): TLS is off",
    ] {
        assert!(
            ended.stdout.lines().any(|line| line.starts_with(warning)),
            "no {warning}:\n{}",
            ended.stdout
        );
    }
    assert_eq!(ended.stdout.matches("warning: ").count(), 8, "{}", ended.stdout);
    assert!(!format!("{ended:?}").contains(CANARY));
    // Elsewhere only what can't rotate is worth a word.
    let ended = launch("staging").finish(LIMIT).await;
    assert_eq!(ended.stdout.matches("warning: ").count(), 0, "{}", ended.stdout);
    assert_eq!(
        ended.stdout.matches("note: secret ").count(),
        2,
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn both_listeners_on_one_port_are_refused_with_both_keys_and_the_fix() {
    let launch = conformance("", &["check"])
        .variable("HAFNIUM__HTTP__PORT", "8443")
        .variable("HAFNIUM__ADMIN__PORT", "8443");
    let ended = launch.finish(LIMIT).await;
    assert!(
        ended.exited(78).contains(
            "both http.port (HAFNIUM__HTTP__PORT) and admin.port (HAFNIUM__ADMIN__PORT) are 8443; give one of them \
             another port"
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_first_line_says_which_environment_this_is_and_why() {
    for (environment, name, because) in [
        ("", "dev", "nobody said which, and nothing deployed this process"),
        ("disaster-recovery", "dr", "said by ENVIRONMENT"),
    ] {
        let mut service = conformance("", &[]).variable("ENVIRONMENT", environment).start();
        service.ready(LIMIT).await;
        let said = |line: &serde_json::Value| {
            line["message"] == "starting" && line["environment"] == name && line["because"] == because
        };
        service.logged("the first line", LIMIT, said).await;
        service.stop(LIMIT).await.exited(0);
    }
}
