//! Which environment this is: said, taken for `dev`, or refused where something deployed us.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{http, ledger, loader, rig};
use hafnium_core::config::{Basis, Environment, Origin, Platform, ProblemKind, Role};

const MARKERS: [(&str, Platform); 4] = [
    ("KUBERNETES_SERVICE_HOST", Platform::Kubernetes),
    ("ECS_CONTAINER_METADATA_URI_V4", Platform::Ecs),
    ("K_SERVICE", Platform::CloudRun),
    ("DYNO", Platform::Heroku),
];

#[test]
fn where_something_deployed_us_nobody_guesses() {
    for (marker, platform) in MARKERS {
        let rig = rig().variable(marker, "x");
        let problems = rig.problems(http());
        assert_eq!(
            (problems[0].kind(), problems[0].key()),
            (&ProblemKind::Environment, "environment")
        );
        assert!(problems[0].to_string().contains(marker), "{}", problems[0]);
        let config = rig.variable("ENVIRONMENT", "staging").load(http()).unwrap();
        assert_eq!(
            (config.environment(), config.deployed()),
            (Environment::Staging, Some(platform))
        );
    }
}

#[test]
fn a_missing_environment_is_reported_with_everything_else() {
    let report = rig()
        .variable("KUBERNETES_SERVICE_HOST", "x")
        .report(http().set("http.prt=1"));
    assert!(
        report.contains("environment: missing") && report.contains("http.prt"),
        "{report}"
    );
}

#[test]
fn elsewhere_it_is_dev() {
    let config = rig().load(http()).unwrap();
    assert_eq!(config.environment(), Environment::Dev);
    assert_eq!(
        (config.environment_basis(), config.deployed()),
        (&Basis::Undeployed, None)
    );
}

#[test]
fn some_commands_do_without_and_keep_the_rules_of_prod() {
    let rig = rig()
        .variable("KUBERNETES_SERVICE_HOST", "x")
        .file("hafnium.prod.toml", "http.port = 1")
        .file(
            "hafnium.toml",
            "[database.ledger]\nurl = \"postgres://host/db\"\n",
        );
    let config = rig.load(http().needs(["http"]).set("http.port=2").environment_optional());
    assert!(config.unwrap_err().to_string().contains("database"));
    let report = rig.report(ledger().environment_optional());
    assert!(report.contains("outside dev only a reference may"), "{report}");
    let rig = rig.file("hafnium.toml", "");
    let config = rig.load(http().environment_optional()).unwrap();
    assert_eq!(
        (config.environment(), config.environment_basis()),
        (Environment::Prod, &Basis::Strict)
    );
    assert!(
        !config.is_set("http.port"),
        "nobody said that the file of prod is meant"
    );
}

#[test]
fn every_spelling_is_accepted_and_shown_by_its_short_name() {
    for (spelling, name) in [
        ("dev", "dev"),
        ("development", "dev"),
        ("staging", "staging"),
        ("stage", "staging"),
        ("prod", "prod"),
        ("production", "prod"),
        ("dr", "dr"),
        ("disaster-recovery", "dr"),
    ] {
        let file = format!("hafnium.{name}.toml");
        let config = rig()
            .file(&file, "zone = \"z\"")
            .load(loader().environment(Some(spelling)))
            .unwrap();
        assert_eq!(config.environment().to_string(), name);
        assert_eq!(
            config.environment_basis(),
            &Basis::Configured(Origin::Flag("--environment"))
        );
        assert_eq!(config.place().zone.as_deref(), Some("z"), "{file} is read");
    }
}

#[test]
fn a_name_no_environment_has_is_one_problem_with_the_nearest() {
    let rig = rig().variable("ENVIRONMENT", "prodd");
    let problems = rig.problems(loader());
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0]
            .to_string()
            .starts_with("environment (ENVIRONMENT): not accepted; did you mean \"prod\"?")
    );
}

#[test]
fn who_says_it_last_wins() {
    let rig = rig().file("hafnium.toml", "environment = \"dr\"");
    assert_eq!(rig.load(loader()).unwrap().environment(), Environment::Dr);
    let rig = rig
        .variable("ENVIRONMENT", "production")
        .variable("HAFNIUM__ENVIRONMENT", "prod");
    assert_eq!(rig.load(loader()).unwrap().environment(), Environment::Prod);
    assert_eq!(
        rig.load(loader().set("environment=stage")).unwrap().environment(),
        Environment::Staging
    );
    let flagged = loader().set("environment=stage").environment(Some("dev"));
    assert_eq!(rig.load(flagged).unwrap().environment(), Environment::Dev);
    let report = rig.variable("ENVIRONMENT", "dr").report(loader());
    assert!(
        report.contains("set twice, differently: by HAFNIUM__ENVIRONMENT and by ENVIRONMENT"),
        "{report}"
    );
}

#[test]
fn the_file_of_an_environment_cannot_name_another() {
    let rig = rig()
        .file("hafnium.staging.toml", "environment = \"prod\"")
        .variable("ENVIRONMENT", "staging");
    let report = rig.report(loader());
    assert!(
        report.contains("environment (hafnium.staging.toml:1): this file is read in staging"),
        "{report}"
    );
}

#[test]
fn the_place_is_parsed_and_validated() {
    let place = rig()
        .load(loader().set("region=eu").set("cell=c1").set("role=passive"))
        .unwrap()
        .place();
    assert_eq!(
        (place.region.as_deref(), place.zone, place.cell.as_deref()),
        (Some("eu"), None, Some("c1"))
    );
    assert_eq!(place.role, Role::Passive);
    assert_eq!(rig().load(loader()).unwrap().place().role, Role::Active);
    let report = rig().report(loader().set("role=pasive"));
    assert!(report.contains("did you mean \"passive\"?"), "{report}");
}

#[test]
fn the_names_of_the_place_are_names_and_an_empty_one_is_none() {
    // The downward API gives an empty text for a label that the node does not have.
    let config = rig()
        .file("mounted/zone", "eu-west-1a\n")
        .variable("HAFNIUM_CONFIG_DIR", "mounted")
        .variable("HAFNIUM__REGION", "")
        .load(loader().set("privacy_tier=restricted"))
        .unwrap();
    let place = config.place();
    assert_eq!((place.region, place.zone.as_deref()), (None, Some("eu-west-1a")));
    let attributes = config.attributes();
    for wanted in [
        ("deployment.environment.name", "dev"),
        ("cloud.availability_zone", "eu-west-1a"),
        ("hafnium.role", "active"),
        ("hafnium.privacy_tier", "restricted"),
    ] {
        assert!(
            attributes.contains(&(wanted.0, wanted.1.to_owned())),
            "{wanted:?} in {attributes:?}"
        );
    }
    assert!(!attributes.iter().any(|(name, _)| *name == "cloud.region"));
    let report = rig().report(
        loader()
            .set("region=eu west")
            .set("zone=-a")
            .set("cell=a/b")
            .set(format!("privacy_tier={}", "x".repeat(64))),
    );
    for key in ["region", "zone", "cell", "privacy_tier"] {
        assert!(
            report.contains(&format!("{key} (--set): expected letters, digits")),
            "{report}"
        );
    }
}
