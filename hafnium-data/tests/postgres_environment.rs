//! libpq's variables as what a single declared database answers to. No server is asked.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test")]

use hafnium_core::config::{Config, ConfigError, Loader, Sources};
use hafnium_data::postgres::PostgresSection;

const CANARY: &str = "c4n4ry/pass word@";

fn load(instances: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let sources = variables.iter().fold(Sources::none(), |sources, (name, value)| {
        sources.variable(*name, *value)
    });
    let loader = Loader::new("risk-engine").sources(sources);
    let loader = instances
        .iter()
        .fold(loader, |loader, name| loader.named::<PostgresSection>(name));
    loader.load()
}

fn url(variables: &[(&str, &str)]) -> String {
    let config = load(&["ledger"], variables).unwrap();
    let settings = config.named::<PostgresSection>("ledger").unwrap();
    settings.url.current().expose().to_owned()
}

fn report(instances: &[&str], variables: &[(&str, &str)]) -> String {
    let report = load(instances, variables).unwrap_err().to_string();
    assert!(!report.contains("c4n4ry"), "{report}");
    report
}

#[test]
fn the_variables_of_libpq_make_the_url_of_the_only_database() {
    let all = [
        ("PGHOST", "db.example"),
        ("PGPORT", "5433"),
        ("PGUSER", "risk@corp"),
        ("PGPASSWORD", CANARY),
        ("PGDATABASE", "ledger"),
        ("PGSSLMODE", "disable"),
        ("PGAPPNAME", "risk engine"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGOPTIONS", "-c search_path=risk"),
    ];
    assert_eq!(
        url(&all),
        "postgres://risk%40corp:c4n4ry%2Fpass%20word%40@db.example:5433/ledger?sslmode=disable\
         &application_name=risk%20engine&connect_timeout=3&options=-c%20search_path%3Drisk"
    );
    // The password alone is a secret, and the place shows which variables it was.
    let config = load(&["ledger"], &[("PGHOST", "db"), ("PGPASSWORD", CANARY)]).unwrap();
    let entry = config.entry("postgres.ledger.url").unwrap();
    assert_eq!(entry.value, "***");
    assert_eq!(entry.origin.to_string(), "PGHOST, PGPASSWORD");
}

#[test]
fn several_hosts_ports_addresses_and_a_socket_are_written_as_a_url_has_them() {
    for (variables, wanted) in [
        (&[("PGHOST", "a,b,c")][..], "postgres://a:5432,b:5432,c:5432"),
        (
            &[("PGHOST", "a,b"), ("PGPORT", "5433,5434")],
            "postgres://a:5433,b:5434",
        ),
        (
            &[("PGHOST", "a,b"), ("PGPORT", "6432")],
            "postgres://a:6432,b:6432",
        ),
        (&[("PGHOSTADDR", "::1")], "postgres://[::1]:5432"),
        (
            &[("PGHOST", "/run/postgresql")],
            "postgres://%2Frun%2Fpostgresql:5432",
        ),
    ] {
        assert_eq!(url(variables), wanted);
    }
}

#[test]
fn they_complete_what_another_variable_leaves_out_and_contradict_nothing() {
    let stated = ("DATABASE_URL", "postgresql://risk@db:5432/ledger?sslmode=require");
    assert_eq!(
        url(&[
            stated,
            ("PGPASSWORD", "p"),
            ("PGHOST", "db"),
            ("PGUSER", "risk"),
            ("PGSSLMODE", "require")
        ]),
        "postgres://risk:p@db:5432/ledger?sslmode=require"
    );
    let config = load(&["ledger"], &[stated, ("PGPASSWORD", CANARY)]).unwrap();
    let origin = config.entry("postgres.ledger.url").unwrap().origin.to_string();
    assert_eq!(origin, "DATABASE_URL, PGPASSWORD");
    for (variable, value) in [
        ("PGHOST", "other"),
        ("PGPORT", "1"),
        ("PGUSER", "other"),
        ("PGDATABASE", "other"),
        ("PGSSLMODE", "disable"),
    ] {
        let host = if variable == "PGPORT" { "db" } else { "" };
        let report = report(
            &["ledger"],
            &[
                stated,
                ("PGPASSWORD", CANARY),
                ("PGHOST", host),
                (variable, value),
            ],
        );
        let named = if variable == "PGPORT" { "PGHOST" } else { variable };
        assert!(
            report.contains(&format!(
                "postgres.ledger.url ({named}): set twice, differently: by DATABASE_URL and by {named}"
            )),
            "{report}"
        );
    }
}

#[test]
fn without_a_host_there_is_no_url_and_the_report_says_what_to_set() {
    let report = report(&["ledger"], &[("PGUSER", "risk"), ("PGPASSWORD", CANARY)]);
    assert!(
        report.contains("postgres.ledger.url: missing; set it in hafnium.toml or as HAFNIUM__POSTGRES__LEDGER__URL or DATABASE_URL or PGHOST"),
        "{report}"
    );
}

#[test]
fn what_can_not_be_kept_is_refused_with_the_reason() {
    for (variables, reason) in [
        (&[("PGSERVICE", "x")][..], "service files are not read"),
        (
            &[("PGHOST", "a"), ("PGHOSTADDR", "::1")],
            "set PGHOST or PGHOSTADDR, not both",
        ),
        (
            &[("PGHOST", "a,b,c"), ("PGPORT", "1,2")],
            "as many as there are hosts",
        ),
        (&[("PGHOST", "a"), ("PGPORT", "many")], "a port is no number"),
        (&[("PGHOST", "a,,b")], "a host is missing"),
        (
            &[("PGHOST", "a"), ("DATABASE_URL_FILE", "/proc/self/comm")],
            "set twice, differently: by DATABASE_URL_FILE and by PGHOST",
        ),
    ] {
        let report = report(&["ledger"], variables);
        assert!(report.contains(reason), "{report}");
    }
}

#[test]
fn with_several_databases_they_are_refused_with_the_reason() {
    let report = report(
        &["ledger", "audit"],
        &[
            ("PGHOST", "db"),
            ("HAFNIUM__POSTGRES__LEDGER__URL", "postgres://a/b"),
            ("HAFNIUM__POSTGRES__AUDIT__URL", "postgres://a/b"),
        ],
    );
    assert!(
        report.contains(
            "PGHOST: this variable can't tell 2 instances apart; set HAFNIUM__POSTGRES__LEDGER__URL and \
             HAFNIUM__POSTGRES__AUDIT__URL instead"
        ),
        "{report}"
    );
}
