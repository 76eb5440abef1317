//! No output of a service ever holds the value of a secret: planted values of every kind of source are looked for in
//! everything that real runs say, good ones and bad ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use hafnium_testkit::aws::Moto;
use hafnium_testkit::otlp::Collector;
use support::http::get;
use support::{Launch, Service, Signal, until};

const START: Duration = Duration::from_secs(30);

/// What every planted value begins with; long enough that nothing else looks like it.
const MARK: &str = "kanari-9d41c7";

/// A planted value of its own length, so that its arrival can be told without showing it.
fn canary(kind: &str) -> String {
    format!("{MARK}-{kind}-nevershown")
}

/// Everything that was said, by where it was said.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn hear(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// Panics where a planted value shows, also in the forms in which text is escaped on its way.
    #[track_caller]
    fn hold_no_canary(&self) {
        assert!(!self.0.is_empty());
        let base64 = "a2FuYXJpLTlkNDFjN";
        let url = MARK.replace('-', "%2D");
        for (place, text) in &self.0 {
            for form in [MARK, base64, &url] {
                if let Some(at) = text.find(form) {
                    let from = text.floor_char_boundary(at.saturating_sub(200));
                    panic!(
                        "{place} shows a secret:\n…{}",
                        &text[from..(at + 60).min(text.len())]
                    );
                }
            }
        }
    }

    fn get(&self, place: &str) -> &str {
        &self.0.iter().find(|(known, _)| known == place).unwrap().1
    }
}

/// A place for files outside of the service's own directory, as a mounted volume is.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Self {
        let mounted = Self(tempfile::tempdir().unwrap());
        mounted.write("file", &canary("file"));
        std::fs::create_dir(mounted.path("tree")).unwrap();
        mounted.write("tree/settings.tree", &canary("tree"));
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }
}

fn launch(case: &str, mounted: &Mounted) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", case)
        .variable("CANARY", canary("env"))
        .variable("HAFNIUM__ADMIN__TOKEN", canary("token"))
        .variable(
            "HAFNIUM__SETTINGS__FILE_FILE",
            mounted.path("file").display().to_string(),
        )
        .variable("RUST_BACKTRACE", "full")
}

/// With every kind of source, in `dev`, where a literal may stand in a file.
fn everything(case: &str, mounted: &Mounted, moto: &Moto) -> Launch {
    let mut launch = launch(case, mounted)
        .variable("ENVIRONMENT", "dev")
        .variable("HAFNIUM_CONFIG_DIR", mounted.path("tree").display().to_string())
        .variable("HAFNIUM__SETTINGS__MANAGER", "aws-sm:ledger#password")
        .variable("HAFNIUM__SETTINGS__PARAMETER", "aws-ssm:/ledger/password")
        .variable("HAFNIUM__SETTINGS__LOGIN", "aws-sm:login")
        .variable("HAFNIUM__SECRETS__REFRESH", "1s")
        .variable("HAFNIUM__TELEMETRY__LOG_FILTER", "trace")
        .file(
            "hafnium.toml",
            &format!("[settings]\nliteral = \"{}\"\n", canary("literal")),
        );
    for (name, value) in moto.variables() {
        launch = launch.variable(name, value);
    }
    launch
}

async fn moto() -> Moto {
    let moto = Moto::start().await.unwrap();
    let document = format!(r#"{{"password":"{}"}}"#, canary("manager"));
    moto.create_secret("ledger", &document).await.unwrap();
    moto.put_parameter("/ledger/password", &canary("parameter"))
        .await
        .unwrap();
    let login = format!(r#"{{"username":"app","password":"{}"}}"#, canary("login"));
    moto.create_secret("login", &login).await.unwrap();
    moto
}

/// Asks everything there is to ask.
async fn look_round(service: &Service, when: &str, said: &mut Said) {
    for path in [
        "/",
        "/livez",
        "/readyz?verbose",
        "/startupz?verbose",
        "/report",
        "/metrics",
        "/info",
        "/config",
        "/topology",
        "/loglevel",
        "/nothing",
    ] {
        // The operator's token is a secret as well.
        let request = get(path).header("authorization", format!("Bearer {}", canary("token")));
        let answer = request.send(service.admin).await.unwrap();
        said.hear(
            format!("{when}: operator {path}"),
            format!("{:?} {}", answer.headers, answer.body),
        );
    }
    for path in ["/", "/show", "/panic", "/nothing", "/lengths"] {
        let answer = service.ask(get(path)).await;
        said.hear(
            format!("{when}: application {path}"),
            format!("{:?} {}", answer.headers, answer.body),
        );
    }
}

fn lengths(kinds: &[&str]) -> String {
    let lengths = kinds.iter().map(|kind| canary(kind).len().to_string());
    lengths.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_run_with_secrets_of_every_kind_shows_none_of_them() {
    let (mounted, moto) = (Mounted::new(), moto().await);
    let mut said = Said::default();
    let collector = Collector::start().await.unwrap();
    let mut service = everything("canaries-alone", &mounted, &moto)
        .variable("HAFNIUM__TELEMETRY__SAMPLE_RATIO", "100%")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .start();
    service.ready(START).await;
    look_round(&service, "at first", &mut said).await;
    let kinds = ["env", "file", "literal", "tree", "manager", "parameter", "login"];
    // Every value is really there.
    assert!(
        said.get("at first: application /lengths")
            .ends_with(&lengths(&kinds))
    );
    let config = said.get("at first: operator /config");
    assert!(
        config.contains("aws-sm:ledger#password") && config.contains("***"),
        "{config}"
    );
    let metrics = said.get("at first: operator /metrics");
    assert!(metrics.contains("hafnium_secret_age"), "{metrics}");

    // Rotation, wherever values can change; a reload; a bad file.
    mounted.write("file", &canary("file-rotated"));
    mounted.write("tree/settings.tree", &canary("tree-rotated"));
    let document = format!(r#"{{"password":"{}"}}"#, canary("manager-rotated"));
    moto.put_secret("ledger", &document, &[]).await.unwrap();
    moto.put_parameter("/ledger/password", &canary("parameter-rotated"))
        .await
        .unwrap();
    let login = format!(
        r#"{{"username":"{}","password":"{}"}}"#,
        "app_clone",
        canary("login-rotated")
    );
    moto.put_secret("login", &login, &[]).await.unwrap();
    let rotated = [
        "env",
        "file-rotated",
        "literal",
        "tree-rotated",
        "manager-rotated",
        "parameter-rotated",
        "login-rotated",
    ];
    until("the rotated values", START, async || {
        let answer = service.ask(get("/lengths")).await;
        match answer.body == lengths(&rotated) {
            true => Ok(()),
            false => Err(format!("{} is not {}", answer.body, lengths(&rotated))),
        }
    })
    .await;
    moto.put_secret("login", &canary("no-login"), &[]).await.unwrap();
    moto.put_secret("ledger", &canary("no-document"), &[])
        .await
        .unwrap();
    mounted.write("file", &format!("{}\u{0}\n", canary("odd")));
    service.signal(Signal::HUP);
    until("a degraded check", START, async || {
        let request = get("/report").header("authorization", format!("Bearer {}", canary("token")));
        let report = request.send(service.admin).await.unwrap().body;
        match report.contains("settings.login is rejected") {
            true => Ok(()),
            false => Err(report),
        }
    })
    .await;
    look_round(&service, "after the rotation", &mut said).await;
    assert_eq!(
        service.ask(get("/lengths")).await.body.split(' ').next_back(),
        Some("38")
    );
    let ended = service.stop(START).await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("there is a new value"));
    assert!(ended.stdout.contains("shown by mistake") || ended.stderr.contains("shown by mistake"));
    assert!(ended.stderr.contains("in hand"), "the panic was seen");
    said.hear("stdout", ended.stdout);
    said.hear("stderr", ended.stderr);
    let exported = String::from_utf8_lossy(&collector.taken()).into_owned();
    assert!(exported.contains("/v1/traces") && exported.contains("/v1/metrics"));
    said.hear("exported", exported);
    said.hold_no_canary();
}

#[tokio::test]
async fn the_commands_show_no_secret_and_say_which_never_rotate() {
    let (mounted, moto) = (Mounted::new(), moto().await);
    let mut said = Said::default();
    for arguments in [
        &["config"][..],
        &["config", "--format", "json"],
        &["check"],
        &["version"],
        &["--help"],
    ] {
        let mut launch = everything("canaries-alone", &mounted, &moto);
        for argument in arguments {
            launch = launch.argument(*argument);
        }
        let ended = launch.finish(START).await;
        ended.exited(0);
        said.hear(arguments.join(" "), format!("{}\n{}", ended.stdout, ended.stderr));
    }
    said.hold_no_canary();
    let check = said.get("check");
    assert!(
        check.contains("settings.variable (env:CANARY): an environment variable never changes"),
        "{check}"
    );
    assert!(!check.contains("settings.file ("), "{check}");
    let config = said.get("config");
    assert!(
        config.contains("settings.manager = *** (HAFNIUM__SETTINGS__MANAGER, aws-sm:ledger#password"),
        "{config}"
    );
}

#[tokio::test]
async fn a_start_that_fails_shows_no_secret() {
    let (mounted, moto) = (Mounted::new(), moto().await);
    let log = mounted.path("termination-log");
    let mut said = Said::default();
    let misplaced = canary("misplaced");
    let in_a_table = format!("[settings.literal]\nx = \"{misplaced}\"\n");
    let cases: Vec<(&str, i32, Launch)> = vec![
        (
            "an unknown key",
            78,
            launch("canaries-alone", &mounted).variable("HAFNIUM__SETTINGS__VARIABEL", &misplaced),
        ),
        ("a value in a file", 78, {
            launch("canaries-alone", &mounted).file(
                "hafnium.toml",
                &format!("[settings]\nliteral = \"{misplaced}\"\n"),
            )
        }),
        ("a value on the command line", 78, {
            launch("canaries-alone", &mounted)
                .argument("--set")
                .argument(format!("settings.literal={misplaced}"))
        }),
        ("a second value behind --set", 2, {
            launch("canaries-alone", &mounted)
                .argument("--set")
                .argument("http.port=1")
                .argument(format!("settings.literal={misplaced}"))
        }),
        ("a value where a flag is looked for", 2, {
            launch("canaries-alone", &mounted).argument(format!("--{misplaced}"))
        }),
        (
            "a table",
            78,
            launch("canaries-alone", &mounted).file("hafnium.toml", &in_a_table),
        ),
        ("no TOML", 78, {
            launch("canaries-alone", &mounted)
                .file("hafnium.toml", &format!("[settings]\nliteral = \"{misplaced}\n"))
        }),
        ("a bad URL", 78, {
            launch("canaries-alone", &mounted)
                .variable("HAFNIUM__SETTINGS__URL", format!("http://u:{misplaced}@host/"))
        }),
        (
            "no login",
            78,
            launch("canaries-alone", &mounted).variable("HAFNIUM__SETTINGS__LOGIN", &misplaced),
        ),
        ("a conflict", 78, {
            launch("canaries-alone", &mounted).variable("HAFNIUM__SETTINGS__VARIABLE", &misplaced)
        }),
        ("a key that is not there", 78, {
            everything("canaries-alone", &mounted, &moto)
                .variable("HAFNIUM__SETTINGS__MANAGER", "aws-sm:ledger#pasword")
        }),
        ("a document for a URL", 78, {
            everything("canaries-alone", &mounted, &moto).variable("HAFNIUM__SETTINGS__URL", "aws-sm:login")
        }),
        ("a secret that is not there", 78, {
            everything("canaries-alone", &mounted, &moto)
                .variable("HAFNIUM__SETTINGS__MANAGER", "aws-sm:nothing")
        }),
        ("a source that is not there", 69, {
            everything("canaries-alone", &mounted, &moto)
                .variable("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
                .variable("HAFNIUM__START__DEADLINE", "2s")
        }),
        ("a dependency that is not there", 69, {
            everything("canaries", &mounted, &moto)
                .variable(
                    "HAFNIUM__REDIS__VELOCITY__URL",
                    format!("redis://:{misplaced}@127.0.0.1:1/0"),
                )
                .variable("HAFNIUM__START__DEADLINE", "2s")
        }),
        ("a dependency with a bad URL", 78, {
            everything("canaries", &mounted, &moto).variable(
                "HAFNIUM__REDIS__VELOCITY__URL",
                format!("redis://:{misplaced}@127.0.0.1:x/0"),
            )
        }),
        (
            "a set-up that fails",
            1,
            everything("canaries-fail", &mounted, &moto),
        ),
        (
            "a task that panics",
            1,
            everything("canaries-panic", &mounted, &moto),
        ),
    ];
    for (name, code, launch) in cases {
        std::fs::write(&log, "").unwrap();
        let launch = launch.variable("HAFNIUM_TERMINATION_LOG", log.to_str().unwrap());
        let ended = launch.finish(START).await;
        assert!(!ended.exited(code).is_empty(), "{name}");
        said.hear(format!("{name}: stdout"), ended.stdout);
        said.hear(format!("{name}: stderr"), ended.stderr);
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.is_empty(), "{name}");
        said.hear(format!("{name}: termination log"), text);
    }
    said.hold_no_canary();
    let report = said.get("a secret that is not there: stderr");
    assert!(
        report.contains("settings.manager (HAFNIUM__SETTINGS__MANAGER): aws-sm:nothing: ResourceNotFound"),
        "{report}"
    );
    let report = said.get("a value on the command line: stderr");
    assert!(
        report.contains("settings.literal (--set)") && report.contains("on the command line"),
        "{report}"
    );
    let report = said.get("a source that is not there: stderr");
    assert!(
        report.contains("required source is unavailable: ") && report.contains("aws-sm:ledger#password"),
        "{report}"
    );
}

#[tokio::test]
async fn a_service_in_operation_leaves_no_core_dump() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // What the service inherits lets it dump, as far as this machine allows it.
    let boundless = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Core, boundless).is_err() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        assert_ne!(maximum, Some(0), "nothing here may dump: the guard can't be seen");
        let current = maximum;
        setrlimit(Resource::Core, Rlimit { current, maximum }).unwrap();
    }
    let mounted = Mounted::new();
    let mut service = launch("canaries-alone", &mounted).start();
    service.ready(START).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let soft = line["Max core file size".len()..]
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(soft, "1", "{line}");
    service.stop(START).await.exited(0);
}
