//! Every problem at once, each with its key, its origin and what is accepted.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{Admin, CANARY, Database, Http, http, ledger, loader, rig};
use hafnium_core::config::{Loader, Origin, ProblemKind};
use hafnium_core::exit::Exit;
use schemars::JsonSchema;
use serde::Deserialize;

#[test]
fn every_problem_of_every_layer_is_in_one_report() {
    let rig = rig()
        .file(
            "hafnium.toml",
            "[http]\nport = 99999\nrequest_timeout = 5\n\n[http.tls]\ncert = \"x\"\n",
        )
        .variable("HAFNIUM__HTTP__BODY_LIMIT", "64")
        .variable("HAFNIUM__DATABASE__LEDGER__POOL__SIZE", "many")
        .variable("HAFNIUM__DATABASE__LEDGER__PASSWORD", "file:/nowhere/password");
    let report = rig.report(
        http()
            .named::<Database>("ledger")
            .set("http.compress=yes")
            .set("htpp.port=1"),
    );
    let lines: Vec<_> = report.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "risk-engine: configuration is invalid, 9 problems:",
            "database.ledger.password (HAFNIUM__DATABASE__LEDGER__PASSWORD): secret file \"/nowhere/password\": \
             the file does not exist; accepted: a secret, or a reference such as env:NAME or file:/path",
            "database.ledger.pool.size (HAFNIUM__DATABASE__LEDGER__POOL__SIZE): wrong type; found \"many\"; \
             accepted: a whole number from 0 to 4294967295",
            "database.ledger.url: missing; set it in hafnium.toml or as HAFNIUM__DATABASE__LEDGER__URL or \
             DATABASE_URL; accepted: a URL that begins with postgres:// or postgresql://",
            "htpp (--set): unknown key; did you mean `http`?; accepted: cell, database, \
             environment, http, privacy_tier, region, replicas, role, zone",
            "http.body_limit (HAFNIUM__HTTP__BODY_LIMIT): not accepted; found \"64\"; accepted: a size such as \
             \"512KiB\", \"64MiB\" or \"1GB\"",
            "http.compress (--set): wrong type; found \"yes\"; accepted: true or false",
            "http.port (hafnium.toml:2): not accepted; found 99999; accepted: a whole number from 0 to 65535",
            "http.request_timeout (hafnium.toml:3): wrong type; found 5; accepted: a duration such as \
             \"250ms\", \"5s\", \"10m\", \"2h\" or \"7d\"",
            "http.tls (hafnium.toml:5): unknown key; accepted: body_limit, compress, origins, port, protocol, \
             request_timeout, shed, weight",
        ]
    );
}

#[test]
fn an_invalid_configuration_exits_with_78() {
    let error = rig().load(ledger()).unwrap_err();
    assert_eq!(Exit::from(&error).code(), 78);
    assert!(
        error
            .summary()
            .starts_with("risk-engine: configuration is invalid: database.ledger.url: missing")
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one_and_hides_its_value() {
    let rig = rig().variable("HAFNIUM__DATABASE__LEDGER__PASWORD", CANARY);
    let rig = rig.variable("DATABASE_URL", "postgres://host/db");
    let report = rig.report(ledger());
    assert!(
        report.contains("did you mean `database.ledger.password`?"),
        "{report}"
    );
    let problems = rig.problems(ledger());
    assert_eq!(
        problems[0].kind(),
        &ProblemKind::Unknown {
            nearest: Some("database.ledger.password".to_owned())
        }
    );
}

#[test]
fn an_unknown_instance_names_the_declared_one() {
    let rig = rig().file("hafnium.toml", "[database.legder]\nurl = \"env:X\"\n");
    let report = rig.report(ledger());
    assert!(
        report.contains("database.legder (hafnium.toml:1): unknown key; did you mean `database.ledger`?")
    );
    assert!(report.contains("database.ledger.url: missing"));
}

#[test]
fn settings_that_are_not_declared_are_unknown() {
    let report = rig().report(http().set("settings.window=5s"));
    assert!(
        report.contains("settings (--set): unknown key; this service declares no settings"),
        "{report}"
    );
}

#[test]
fn a_bad_url_is_explained_without_its_credentials() {
    let url = format!("postgres://user:{CANARY}@host:54x2/db");
    let report = rig().variable("DATABASE_URL", &url).report(ledger());
    assert!(
        report.contains("database.ledger.url (DATABASE_URL): not a URL: a port is no number from 1 to 65535"),
        "{report}"
    );
    let rig = rig().variable("DATABASE_URL", "postgres://host/db");
    let rig = rig.variable(
        "HAFNIUM__DATABASE__LEDGER__COLLECTOR",
        &format!("ftp://user:{CANARY}@host"),
    );
    let report = rig.report(ledger());
    assert!(
        report.contains("found \"ftp://***@host\"; accepted: a URL that begins with http:// or https://")
    );
}

#[test]
fn a_secret_where_a_table_belongs_is_not_shown() {
    let report = rig()
        .variable("HAFNIUM__DATABASE", &format!("postgres://u:{CANARY}@h/db"))
        .report(ledger());
    assert!(
        report.contains("database (HAFNIUM__DATABASE): wrong type; found text; accepted: a table"),
        "{report}"
    );
}

#[test]
fn a_number_where_a_secret_belongs_is_not_shown() {
    let rig = rig().file("hafnium.toml", "[database.ledger]\nurl = 4242424242\n");
    let report = rig.report(ledger());
    assert!(
        report.contains("(hafnium.toml:2): wrong type; found a number"),
        "{report}"
    );
    assert!(!report.contains("4242"));
}

#[test]
fn an_invalid_file_names_the_line_and_not_its_text() {
    let rig = rig().file("hafnium.toml", &format!("[http]\nport = 1\nsecret = {CANARY}\n"));
    let report = rig.report(http());
    assert!(report.contains("hafnium.toml:3: "), "{report}");
}

#[test]
fn what_an_unreadable_file_would_have_set_is_not_called_missing() {
    let rig = rig().file("hafnium.toml", "[database.ledger\n");
    let report = rig.report(ledger().section::<Http>().set("http.port=x"));
    assert!(report.contains("hafnium.toml:1: "), "{report}");
    assert!(report.contains("http.port (--set)"), "{report}");
    assert!(!report.contains("missing"), "{report}");
}

#[test]
fn lines_are_those_of_the_keys() {
    let text = "# a comment\nenvironment = \"dev\"\n\n[http]\norigins = [\n  \"a\",\n  7,\n]\nhttp1.x = 1\n\
                weight = \"\"\"\nlong\n\"\"\"\n";
    let problems = rig().file("hafnium.toml", text).problems(http());
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| (problem.key(), problem.origin().unwrap().to_string()))
        .collect();
    assert_eq!(
        lines,
        [
            ("http.http1", "hafnium.toml:9".to_owned()),
            ("http.origins[1]", "hafnium.toml:7".to_owned()),
            ("http.weight", "hafnium.toml:10".to_owned()),
        ]
    );
}

#[test]
fn a_name_that_is_not_accepted_names_the_nearest() {
    let report = rig().report(http().set("http.protocol=h2"));
    assert!(
        report.contains("did you mean \"h2c\"?; found \"h2\"; accepted: one of \"http1\", \"h2c\""),
        "{report}"
    );
}

#[test]
fn both_listeners_on_one_port_are_refused_with_both_keys() {
    let loader = || http().section::<Admin>();
    let report = rig().variable("PORT", "9090").report(loader());
    assert!(
        report.contains(
            "http.port (PORT): both http.port (PORT) and admin.port (default) are 9090; give one of them \
             another port"
        ),
        "{report}"
    );
    rig().load(loader()).unwrap();
    rig()
        .load(loader().set("http.port=0").set("admin.port=0"))
        .unwrap();
}

#[test]
fn a_check_of_the_services_own_is_part_of_the_report() {
    let checked = || {
        http().check(|config| {
            let settings = config.get::<Http>();
            let wrong = settings.is_ok_and(|http| http.port < 1024);
            let problem = || {
                let problem = hafnium_core::config::Problem::new("http.port", "below 1024 needs a privilege");
                match config.origin("http.port") {
                    Some(origin) => problem.at(origin.clone()),
                    None => problem,
                }
            };
            wrong.then(problem).into_iter().collect()
        })
    };
    let rig = rig().variable("PORT", "80");
    let report = rig.report(checked().set("zone=a").set("sone=b"));
    assert!(
        report.contains("http.port (PORT): below 1024 needs a privilege"),
        "{report}"
    );
    assert!(report.contains("did you mean `zone`"), "{report}");
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read")]
struct Strict {
    #[schemars(with = "String")]
    address: std::net::SocketAddr,
}

#[test]
fn what_a_type_refuses_beyond_its_schema_has_key_and_origin_too() {
    let rig = rig().file("hafnium.toml", "[settings]\n\naddress = \"nowhere\"\n");
    let problems = rig.problems(loader().settings::<Strict>().set("zonne=a"));
    let origin = Origin::File {
        path: "hafnium.toml".into(),
        line: 3,
    };
    assert_eq!(
        (problems[0].key(), problems[0].origin()),
        ("settings.address", Some(&origin))
    );
    assert_eq!(problems[1].key(), "zonne");
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Guarded {
    #[allow(dead_code, reason = "never made")]
    token: Token,
}

/// A type that repeats its input in its error, as careless ones do.
#[derive(Debug, JsonSchema)]
struct Token(#[allow(dead_code, reason = "never made")] hafnium_core::secret::Secret);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("bad token {text:?}")))
    }
}

#[test]
fn a_types_own_error_about_a_secret_does_not_show_it() {
    let value = format!("{CANARY}\"\\ü");
    let report = rig()
        .variable("HAFNIUM__SETTINGS__TOKEN", &value)
        .report(loader().settings::<Guarded>());
    assert!(
        report.contains("settings.token (HAFNIUM__SETTINGS__TOKEN): bad token \"***\""),
        "{report}"
    );
}

#[test]
fn what_was_never_declared_is_an_error_that_says_so() {
    let config = rig()
        .variable("DATABASE_URL", "postgres://host/db")
        .load(ledger())
        .unwrap();
    let error = config.named::<Database>("audit").unwrap_err().to_string();
    assert!(
        error.contains(
            "database.audit: asked for, but the service never declared it; accepted: database.ledger"
        )
    );
    let error = config.get::<Http>().unwrap_err().to_string();
    assert!(error.contains("http: asked for, but the service never declared it"));
    assert!(config.settings::<Strict>().is_err());
}

#[test]
fn settings_are_read_as_the_type_they_were_declared_with() {
    let config = rig()
        .load(loader().settings::<Strict>().set("settings.address=[::1]:80"))
        .unwrap();
    assert!(config.settings::<Strict>().is_ok());
    let error = config.settings::<config_support::Pool>().unwrap_err().to_string();
    assert!(
        error.contains("settings: declared as another type than"),
        "{error}"
    );
}

#[test]
fn a_declaration_that_contradicts_itself_is_a_problem() {
    let twice = Loader::new("x")
        .named::<Http>("a")
        .named::<Http>("a")
        .section::<Http>()
        .named::<Http>("B-c");
    let report = rig().report(twice);
    assert!(report.contains("http.a: declared twice"), "{report}");
    assert!(
        report.contains("http: declared both as the only instance and by name"),
        "{report}"
    );
    assert!(
        report.contains("http.B-c: a declared name consists of"),
        "{report}"
    );
}
