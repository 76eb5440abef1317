//! One wrong value hides no other: neither from a type's own words nor from the checks over several keys.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{CANARY, Rig, loader, rig};
use hafnium_core::config::{Config, Loader, Problem};
use hafnium_core::health::HealthSettings;
use hafnium_core::http::HttpSettings;
use hafnium_core::secret::{Secret, SecretsSettings};
use hafnium_core::upstream::UpstreamSettings;
use schemars::JsonSchema;
use serde::Deserialize;

/// Every section of the core that has checks.
fn service() -> Loader {
    loader()
        .section::<HttpSettings>()
        .check(HttpSettings::problems)
        .section::<HealthSettings>()
        .check(HealthSettings::problems)
        .section::<SecretsSettings>()
        .check(SecretsSettings::problems)
        .named::<UpstreamSettings>("scoring")
        .check(|config| UpstreamSettings::problems(config, "scoring"))
        .provide("upstream.scoring.url", "http://scoring", "the test")
}

/// The line of each problem up to its reason: key and origin.
fn told(rig: &Rig, loader: Loader) -> Vec<String> {
    let problems = rig.problems(loader).into_iter();
    let told = problems.map(|problem| match problem.origin() {
        Some(origin) => format!("{} ({origin})", problem.key()),
        None => problem.key().to_owned(),
    });
    told.collect()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read")]
struct Strict {
    #[schemars(with = "String")]
    address: std::net::SocketAddr,
    #[schemars(with = "Vec<String>")]
    peers: Vec<std::net::SocketAddr>,
    #[serde(default)]
    token: Option<Secret>,
    limit: u32,
}

#[test]
fn all_that_the_types_refuse_is_told_at_once_beside_what_the_schema_refuses() {
    let rig = rig().file(
        "hafnium.toml",
        "[settings]\naddress = \"nowhere\"\npeers = [\n  \"1.2.3.4:5\",\n  \"noone\",\n]\nlimit = -1\n",
    );
    assert_eq!(
        told(&rig, loader().settings::<Strict>()),
        [
            "settings.address (hafnium.toml:2)",
            "settings.limit (hafnium.toml:7)",
            "settings.peers[1] (hafnium.toml:5)",
        ]
    );
    // What is there and wrong is not called missing, and a secret that is still to be fetched hides nothing.
    let rig = config_support::rig()
        .file("hafnium.toml", "[settings]\naddress = \"nowhere\"\npeers = []\n")
        .variable("HAFNIUM__SETTINGS__TOKEN", "aws-sm:token")
        .variable("HAFNIUM__SETTINGS__LIMIT", "7");
    assert_eq!(
        told(&rig, loader().settings::<Strict>()),
        ["settings.address (hafnium.toml:2)"]
    );
}

#[test]
fn a_network_that_is_none_is_told_beside_another_problem_with_what_is_accepted() {
    let rig = rig()
        .variable("HAFNIUM__HTTP__TRUSTED_PROXIES", "10.0.0.0/8,proxy")
        .variable("HAFNIUM__HTTP__PRT", "1");
    let report = rig.report(service());
    assert!(
        report.contains(
            "http.trusted_proxies[1] (HAFNIUM__HTTP__TRUSTED_PROXIES): not accepted; found \"proxy\"; accepted: a \
             network such as \"10.0.0.0/8\", or an IP address"
        ),
        "{report}"
    );
    assert!(report.contains("http.prt"), "{report}");
}

#[test]
fn a_check_finds_what_is_wrong_beside_another_problem_of_its_section_and_names_its_origin() {
    let rig = rig().file(
        "hafnium.toml",
        "[http]\nprt = 1\nheader_limit = \"1KiB\"\n\n[health]\nready_requires = 1\nruntime_stall = \"10ms\"\n\n\
         [health.paths]\nlivez = [\"livez\"]\nreadyz = 7\n\n[secrets]\nrefresh = \"10ms\"\nstale_grace = 5\n\n\
         [secrets.maximum_ages]\n\"settings.nothing\" = \"1d\"\n\n\
         [upstream.scoring]\nurl = \"http://scoring/?canary\"\ntimeout = 3\ntls.certificate = \"env:CERTIFICATE\"\n",
    );
    let rig = rig.variable("CERTIFICATE", "any");
    assert_eq!(
        told(&rig, service()),
        [
            "health.paths.livez (hafnium.toml:10)",
            "health.paths.readyz (hafnium.toml:11)",
            "health.ready_requires (hafnium.toml:6)",
            "health.runtime_stall (hafnium.toml:7)",
            "http.header_limit (hafnium.toml:3)",
            "http.prt (hafnium.toml:2)",
            "secrets.maximum_ages.settings.nothing (hafnium.toml:18)",
            "secrets.refresh (hafnium.toml:14)",
            "secrets.stale_grace (hafnium.toml:15)",
            "upstream.scoring.timeout (hafnium.toml:22)",
            "upstream.scoring.tls.key",
            "upstream.scoring.url (hafnium.toml:21)",
        ]
    );
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read")]
struct Free {
    text: String,
    limit: u32,
}

#[test]
fn what_can_be_no_secret_is_repeated_and_free_text_is_not() {
    let wrong = |config: &Config| match config.is_set("settings") {
        true => vec![
            Problem::new("settings.text", "is wrong"),
            Problem::new("settings.limit", "is wrong too"),
        ],
        false => Vec::new(),
    };
    let rig = rig()
        .variable("HAFNIUM__SETTINGS__TEXT", CANARY)
        .variable("HAFNIUM__SETTINGS__LIMIT", "7");
    let report = rig.report(loader().settings::<Free>().check(wrong));
    assert!(
        report.contains("settings.text (HAFNIUM__SETTINGS__TEXT): is wrong\n")
            || report.ends_with("settings.text (HAFNIUM__SETTINGS__TEXT): is wrong"),
        "{report}"
    );
    assert!(
        report.contains("settings.limit (HAFNIUM__SETTINGS__LIMIT): is wrong too; found 7"),
        "{report}"
    );
    let report = config_support::rig().report(service().set("zone=a b").set("http.header_limit=1KiB"));
    assert!(
        report.contains("zone (--set): expected letters") && report.contains("; found \"a b\""),
        "{report}"
    );
    assert!(
        report.contains("http.header_limit (--set): must be at least 8KiB: HTTP/1.1 takes no smaller limit; found \"1KiB\""),
        "{report}"
    );
}

#[test]
fn the_least_limit_of_a_head_is_accepted() {
    rig().load(service().set("http.header_limit=8KiB")).unwrap();
}

#[test]
fn an_upstream_that_can_not_be_called_is_told_by_its_own_keys() {
    let certificate = ("upstream.scoring.tls.certificate", "env:CERTIFICATE");
    for (set, key, said) in [
        (
            vec![("upstream.scoring.url", "http://u:canary@scoring")],
            "upstream.scoring.url (--set)",
            "credentials have no place in it",
        ),
        (
            vec![("upstream.scoring.url", "http://scoring/?key=canary")],
            "upstream.scoring.url (--set)",
            "a query has no place in it",
        ),
        (
            vec![
                ("upstream.scoring.url", "http://scoring"),
                certificate,
                ("upstream.scoring.tls.key", "env:CERTIFICATE"),
            ],
            "upstream.scoring.tls (--set)",
            "is set, and the URL is `http`",
        ),
        (
            vec![("upstream.scoring.url", "https://scoring"), certificate],
            "upstream.scoring.tls.key",
            "missing beside `certificate`",
        ),
    ] {
        let rig = rig().variable("CERTIFICATE", "any");
        let loader = set.iter().fold(service(), |loader, (key, value)| {
            loader.set(format!("{key}={value}"))
        });
        let report = rig.report(loader);
        assert!(report.contains(&format!("{key}: {said}")), "{report}");
        assert!(!report.contains("canary"), "{report}");
        assert_eq!(report.lines().count(), 2, "{report}");
    }
}

#[test]
fn a_partial_section_says_what_was_left_out_and_keeps_the_rest() {
    let looked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = looked.clone();
    let loader = service().check(move |config| {
        let partial = config
            .partial_named::<UpstreamSettings>("scoring", &[("url", "http://stand-in")])
            .unwrap();
        seen.lock().unwrap().push((
            partial.settings.url.clone(),
            partial.settings.max_idle,
            partial.lacks("url"),
            partial.lacks("max_idle"),
        ));
        partial.problems([("url", "never told"), ("max_idle", "is told")])
    });
    let rig = rig();
    let report = rig.report(
        loader
            .set("upstream.scoring.url=ftp://scoring")
            .set("upstream.scoring.max_idle=3"),
    );
    assert_eq!(
        *looked.lock().unwrap(),
        [("http://stand-in".to_owned(), 3, true, false)]
    );
    assert!(
        report.contains("max_idle (--set): is told; found 3") && !report.contains("never told"),
        "{report}"
    );
}
