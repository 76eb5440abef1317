//! Secrets in a configuration: values, references, files; and that none of them ever shows.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{CANARY, Database, Rig, ledger, rig};
use hafnium_core::config::{Config, ProblemKind};
use hafnium_core::secret::{Secret, Source};

/// A ledger whose password is what `HAFNIUM__DATABASE__LEDGER__PASSWORD` says.
fn password(rig: &Rig) -> Secret {
    let config: Config = rig.load(ledger()).unwrap();
    config.named::<Database>("ledger").unwrap().password.unwrap()
}

fn with_url() -> Rig {
    rig().variable("DATABASE_URL", "postgres://host/db")
}

const PASSWORD: &str = "HAFNIUM__DATABASE__LEDGER__PASSWORD";

#[test]
fn a_value_in_a_variable_is_accepted_in_every_environment() {
    for environment in ["dev", "staging", "prod", "dr"] {
        let secret = password(
            &with_url()
                .variable("ENVIRONMENT", environment)
                .variable(PASSWORD, CANARY),
        );
        assert_eq!(secret.current().expose(), CANARY);
        assert_eq!(secret.source(), &Source::Variable(PASSWORD.to_owned()));
    }
}

#[test]
fn a_value_in_a_file_is_refused_outside_dev() {
    let text = format!("[database.ledger]\npassword = \"{CANARY}\"\n");
    for name in ["hafnium.toml", "mounted/any.toml"] {
        for environment in ["staging", "prod", "dr"] {
            let rig = with_url().file(name, &text).variable("ENVIRONMENT", environment);
            let rig = rig
                .file("mounted/zone", "z")
                .variable("HAFNIUM_CONFIG_DIR", "mounted");
            let report = rig.report(ledger());
            assert!(
                report.contains(":2): a secret's value stands in a configuration file"),
                "{report}"
            );
        }
    }
    let rig = with_url()
        .file("hafnium.toml", &text)
        .variable("ENVIRONMENT", "dev");
    let secret = password(&rig);
    assert_eq!(
        (secret.current().expose(), secret.source()),
        (CANARY, &Source::Literal)
    );
}

#[test]
fn a_reference_in_a_file_is_accepted_everywhere() {
    let rig = with_url()
        .file(
            "hafnium.toml",
            "environment = \"prod\"\n[database.ledger]\npassword = \"env:LEDGER_PASSWORD\"\n",
        )
        .variable("LEDGER_PASSWORD", CANARY);
    let secret = password(&rig);
    assert_eq!(
        (secret.current().expose(), secret.source().to_string()),
        (CANARY, "env:LEDGER_PASSWORD".to_owned())
    );
}

#[test]
fn a_file_is_read_without_the_newline_at_its_end() {
    for (text, value) in [
        ("x", "x"),
        ("x\n", "x"),
        ("x\r\n", "x"),
        ("x\n\n", "x\n"),
        (" x y \n", " x y "),
    ] {
        let rig = with_url().file("password", text);
        let path = rig.path().join("password");
        let rig = rig.variable(PASSWORD, &format!("file:{}", path.display()));
        let secret = password(&rig);
        assert_eq!(
            (secret.current().expose(), secret.source()),
            (value, &Source::File(path))
        );
    }
}

#[test]
fn the_file_form_of_a_variable_names_a_file() {
    let rig = rig().file("url", &format!("postgres://u:{CANARY}@host/db\n"));
    let path = rig.path().join("url").display().to_string();
    for variable in ["DATABASE_URL_FILE", "HAFNIUM__DATABASE__LEDGER__URL_FILE"] {
        let mut sources = rig.sources.clone();
        sources = sources.variable(variable, &path);
        let config = ledger().sources(sources).load().unwrap();
        let url = config.named::<Database>("ledger").unwrap().url;
        assert_eq!(url.source().to_string(), format!("file:{path}"));
        assert_eq!(
            config.origin("database.ledger.url").unwrap().to_string(),
            variable
        );
    }
    let rig = rig
        .variable("DATABASE_URL_FILE", &path)
        .variable("DATABASE_URL", &format!("postgres://{CANARY}"));
    let report = rig.report(ledger());
    assert!(
        report.contains("set twice, differently: by DATABASE_URL and by DATABASE_URL_FILE"),
        "{report}"
    );
}

#[test]
fn the_file_form_is_for_secrets_alone() {
    let report = with_url()
        .variable("HAFNIUM__DATABASE__LEDGER__COLLECTOR_FILE", "/x")
        .report(ledger());
    assert!(report.contains("database.ledger.collector_file"), "{report}");
    assert!(report.contains("unknown key"), "{report}");
}

#[test]
fn a_mounted_file_that_holds_one_value_may_hold_a_secret() {
    let rig = rig()
        .file(
            "mounted/database.ledger.url",
            &format!("postgres://u:{CANARY}@host/db\n"),
        )
        .variable("HAFNIUM_CONFIG_DIR", "mounted")
        .variable("ENVIRONMENT", "prod");
    let url = rig
        .load(ledger())
        .unwrap()
        .named::<Database>("ledger")
        .unwrap()
        .url;
    assert!(url.current().expose().ends_with("@host/db"));
    assert!(matches!(url.source(), Source::File(_)));
}

#[test]
fn what_cannot_be_had_is_a_problem_with_key_origin_and_place() {
    let rig = with_url().file("empty", "\n").file("directory/x", CANARY);
    std::fs::write(rig.path().join("binary"), [CANARY.as_bytes(), &[0xff]].concat()).unwrap();
    std::fs::write(rig.path().join("large"), CANARY.repeat(100_000)).unwrap();
    let path = |name: &str| format!("file:{}", rig.path().join(name).display());
    for (reference, reason) in [
        (path("absent"), "the file does not exist"),
        (path("empty"), "the file is empty"),
        (path("binary"), "the file is not UTF-8 text"),
        (path("large"), "the file is larger than 1MiB"),
        (path("directory"), "the file can't be read (is a directory)"),
        ("file:relative".to_owned(), "must be absolute"),
        (
            "env:NOWHERE".to_owned(),
            "the variable \"NOWHERE\" it refers to is not set",
        ),
        (
            "aws-sm:#password".to_owned(),
            "a reference that begins with `aws-sm:`, ",
        ),
        (
            "vault:kv/ledger#".to_owned(),
            "a reference that begins with `vault:`, ",
        ),
    ] {
        let error = ledger()
            .sources(rig.sources.clone().variable(PASSWORD, &reference))
            .load()
            .unwrap_err();
        let [problem] = error.problems() else {
            panic!("{error}")
        };
        assert_eq!(
            (problem.kind(), problem.key()),
            (&ProblemKind::Secret, "database.ledger.password")
        );
        assert_eq!(problem.origin().unwrap().to_string(), PASSWORD);
        assert!(problem.to_string().contains(reason), "{problem}");
        if let Some(path) = reference.strip_prefix("file:") {
            assert!(problem.to_string().contains(path), "{problem}");
        }
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
}

#[test]
fn a_secret_never_prints() {
    let secret = Secret::new(CANARY);
    assert_eq!(
        format!("{secret} {secret:?} {:?}", Some(&secret)),
        "*** Secret(***) Some(Secret(***))"
    );
    assert_eq!(secret.clone().current().expose(), CANARY);
}

#[test]
fn a_secret_is_read_from_other_formats_as_text() {
    let secret: Secret = serde_json::from_str("\"x\"").unwrap();
    assert_eq!(
        (secret.current().expose(), secret.source()),
        ("x", &Source::Literal)
    );
    assert!(serde_json::from_str::<Secret>("{}").is_err());
}
