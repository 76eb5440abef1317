//! The layers and their order, last wins.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{Admin, Database, Http, http, ledger, loader, rig};
use hafnium_core::config::{Loader, Origin, ProblemKind};

/// Everything that can set `http.port`, from the lowest layer to the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layer {
    Default,
    Provided,
    File,
    EnvironmentFile,
    Tree,
    Variable,
    Alias,
    Set,
}

const LAYERS: [Layer; 8] = [
    Layer::Default,
    Layer::Provided,
    Layer::File,
    Layer::EnvironmentFile,
    Layer::Tree,
    Layer::Variable,
    Layer::Alias,
    Layer::Set,
];

/// The port each layer sets, and where it says so.
fn load(layers: &[Layer]) -> (u16, String) {
    let mut rig = rig();
    let mut loader = http();
    for layer in layers {
        match layer {
            Layer::Default => {}
            Layer::Provided => loader = loader.provide("http.port", "1001", "dev services"),
            Layer::File => rig = rig.file("hafnium.toml", "http.port = 1002"),
            Layer::EnvironmentFile => rig = rig.file("hafnium.dev.toml", "\nhttp.port = 1003"),
            Layer::Tree => {
                rig = rig
                    .file("mounted/http.port", "1004\n")
                    .variable("HAFNIUM_CONFIG_DIR", "mounted");
            }
            Layer::Variable => rig = rig.variable("HAFNIUM__HTTP__PORT", "1005"),
            Layer::Alias => rig = rig.variable("PORT", "1006"),
            Layer::Set => loader = loader.set("http.port=1007"),
        }
    }
    let config = rig.load(loader).unwrap();
    let origin = config.entry("http.port").unwrap().origin;
    let origin = match &origin {
        Origin::Tree(path) => path.strip_prefix(rig.path()).unwrap().display().to_string(),
        origin => origin.to_string(),
    };
    (config.get::<Http>().unwrap().port, origin)
}

#[test]
fn of_each_two_layers_the_later_wins_and_is_the_origin() {
    let outcome = |layer| match layer {
        Layer::Default => (8080, "default"),
        Layer::Provided => (1001, "dev services"),
        Layer::File => (1002, "hafnium.toml:1"),
        Layer::EnvironmentFile => (1003, "hafnium.dev.toml:2"),
        Layer::Tree => (1004, "mounted/http.port"),
        Layer::Variable => (1005, "HAFNIUM__HTTP__PORT"),
        Layer::Alias => (1006, "PORT"),
        Layer::Set => (1007, "--set"),
    };
    for (index, higher) in LAYERS.into_iter().enumerate() {
        for lower in LAYERS.into_iter().take(index + 1) {
            if (lower, higher) == (Layer::Variable, Layer::Alias) {
                continue; // A contradiction, not an order: see below.
            }
            let (port, origin) = outcome(higher);
            assert_eq!(
                load(&[lower, higher]),
                (port, origin.to_owned()),
                "{lower:?} and {higher:?}"
            );
            assert_eq!(
                load(&[higher, lower]),
                (port, origin.to_owned()),
                "{higher:?} and {lower:?}"
            );
        }
    }
}

#[test]
fn tables_of_several_layers_merge() {
    let rig = rig()
        .file(
            "hafnium.toml",
            "[http]\nport = 1\nweight = 0.5\n[database.ledger]\nurl = \"env:LEDGER\"\n",
        )
        .variable("LEDGER", "postgres://host/db")
        .variable("HAFNIUM__HTTP__PORT", "2")
        .variable("HAFNIUM__DATABASE__LEDGER__POOL__SIZE", "3");
    let config = rig.load(http().named::<Database>("ledger")).unwrap();
    let http = config.get::<Http>().unwrap();
    let ledger = config.named::<Database>("ledger").unwrap();
    assert_eq!((http.port, http.weight), (2, 0.5));
    assert_eq!(
        (ledger.pool.size, ledger.url.current().expose()),
        (3, "postgres://host/db")
    );
}

#[test]
fn an_alias_and_its_key_may_say_the_same_and_nothing_else() {
    let rig = rig().variable("PORT", "1").variable("HAFNIUM__HTTP__PORT", "1");
    assert_eq!(rig.load(http()).unwrap().get::<Http>().unwrap().port, 1);
    let rig = rig.variable("HAFNIUM__HTTP__PORT", "2");
    let problems = rig.problems(http());
    assert_eq!(problems[0].kind(), &ProblemKind::Conflict);
    assert_eq!(
        problems[0].to_string(),
        "http.port (PORT): set twice, differently: by HAFNIUM__HTTP__PORT and by PORT"
    );
}

#[test]
fn an_empty_alias_counts_as_not_set() {
    let config = rig().variable("PORT", "").load(http()).unwrap();
    assert_eq!(config.get::<Http>().unwrap().port, 8080);
}

#[test]
fn a_named_section_with_one_instance_answers_to_the_alias() {
    let config = rig()
        .variable("DATABASE_URL", "postgres://host/db")
        .load(ledger())
        .unwrap();
    assert_eq!(
        config.named::<Database>("ledger").unwrap().url.current().expose(),
        "postgres://host/db"
    );
}

#[test]
fn with_several_instances_the_alias_is_refused_with_the_reason() {
    let two = || ledger().named::<Database>("audit");
    let rig = rig()
        .variable("DATABASE_URL", "postgres://host/db")
        .variable("HAFNIUM__DATABASE__LEDGER__URL", "postgres://host/db")
        .variable("HAFNIUM__DATABASE__AUDIT__URL", "postgres://host/db");
    assert_eq!(
        rig.report(two()),
        "risk-engine: configuration is invalid, 1 problem:\n  DATABASE_URL: this variable can't tell 2 instances \
         apart; set HAFNIUM__DATABASE__LEDGER__URL and HAFNIUM__DATABASE__AUDIT__URL instead"
    );
}

#[test]
fn an_alias_of_what_is_not_declared_is_nobodys_business() {
    rig()
        .variable("DATABASE_URL", "x")
        .variable("PORT", "y")
        .load(loader())
        .unwrap();
}

#[test]
fn a_service_names_variables_that_its_manifests_already_have() {
    let loader = || http().alias("LISTEN_PORT", "http.port");
    let rig = rig().variable("LISTEN_PORT", "7");
    assert_eq!(rig.load(loader()).unwrap().get::<Http>().unwrap().port, 7);
    let report = rig.variable("PORT", "8").report(loader());
    assert!(
        report.contains("set twice, differently: by LISTEN_PORT and by PORT"),
        "{report}"
    );
}

#[test]
fn a_mounted_tree_is_read_as_kubernetes_mounts_it() {
    // A ConfigMap volume: the names are links into `..data`, itself a link to a dated directory.
    let rig = rig()
        .file("mounted/..2026_11_21/http.port", "1")
        .file(
            "mounted/..2026_11_21/hafnium.toml",
            "[http]\nport = 2\nweight = 3\n",
        )
        .file("mounted/nested/ignored", "");
    std::fs::remove_file(rig.path().join("mounted/nested/ignored")).unwrap();
    let mounted = rig.path().join("mounted");
    std::os::unix::fs::symlink("..2026_11_21", mounted.join("..data")).unwrap();
    for name in ["http.port", "hafnium.toml"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), mounted.join(name)).unwrap();
    }
    let rig = rig
        .file("mounted/http/request_timeout", "9s\n")
        .variable("HAFNIUM_CONFIG_DIR", mounted.to_str().unwrap());
    let config = rig.load(http()).unwrap();
    let settings = config.get::<Http>().unwrap();
    assert_eq!((settings.port, settings.weight), (1, 3.0));
    assert_eq!(settings.request_timeout.to_string(), "9s");
    assert_eq!(
        config.origin("http.port"),
        Some(&Origin::Tree(mounted.join("http.port")))
    );
}

#[test]
fn a_config_tree_that_is_not_there_is_a_problem() {
    let report = rig().variable("HAFNIUM_CONFIG_DIR", "/nowhere").report(http());
    assert!(
        report.contains("/nowhere: can't be read (HAFNIUM_CONFIG_DIR): entity not found"),
        "{report}"
    );
}

#[test]
fn variables_that_contradict_each_other_are_a_problem() {
    let report = rig()
        .variable("HAFNIUM__HTTP", "x")
        .variable("HAFNIUM__HTTP__PORT", "1")
        .report(http());
    assert!(report.contains("HAFNIUM__HTTP__PORT): "), "{report}");
    let report = rig()
        .variable("HAFNIUM__HTTP__", "x")
        .variable("HAFNIUM____PORT", "1")
        .report(http());
    assert_eq!(report.lines().count(), 3, "{report}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_problem_and_is_not_shown() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let mut value = config_support::CANARY.as_bytes().to_vec();
    value.push(0xff);
    let mut rig = rig();
    rig.sources = rig
        .sources
        .variable("HAFNIUM__HTTP__PORT", OsString::from_vec(value));
    assert!(
        rig.report(http())
            .contains("HAFNIUM__HTTP__PORT: the value is not UTF-8 text")
    );
}

#[test]
fn a_command_needs_only_its_own_keys() {
    // `migrate` in an init container: nothing but the database is configured.
    let all = || ledger().named::<Admin>("x").named::<Database>("audit");
    let rig = rig().variable("HAFNIUM__DATABASE__LEDGER__URL", "postgres://host/db");
    assert!(rig.report(all()).contains("database.audit.url: missing"));
    let config = rig.load(all().needs(["database.ledger"])).unwrap();
    assert!(config.named::<Database>("ledger").is_ok());
    let error = config.named::<Database>("audit").unwrap_err().to_string();
    assert!(error.contains("database.audit.url: missing"), "{error}");
    assert!(
        rig.report(all().needs(["database.audit"]))
            .contains("database.audit.url: missing")
    );
    assert!(
        rig.report(all().needs(["database.ledger"]).set("admin.x.port=y"))
            .contains("admin.x.port")
    );
}

#[test]
fn a_command_does_without_the_secrets_of_other_parts_that_are_not_there() {
    let all = || ledger().named::<Database>("audit");
    for reference in ["env:NOT_SET", "file:/not/there"] {
        let rig = rig()
            .variable("HAFNIUM__DATABASE__LEDGER__URL", "postgres://host/db")
            .variable("HAFNIUM__DATABASE__AUDIT__URL", reference);
        let config = rig.load(all().needs(["database.ledger"])).unwrap();
        assert!(config.named::<Database>("ledger").is_ok());
        let error = config.named::<Database>("audit").unwrap_err().to_string();
        assert!(error.contains("database.audit.url"), "{error}");
        assert!(
            rig.report(all().needs(["database.audit"]))
                .contains("database.audit.url")
        );
        assert!(rig.report(all()).contains("database.audit.url"));
    }
    // What is there and of no use is wrong everywhere.
    let rig = rig()
        .variable("HAFNIUM__DATABASE__LEDGER__URL", "postgres://host/db")
        .variable("HAFNIUM__DATABASE__AUDIT__URL", "file:relative");
    assert!(
        rig.report(all().needs(["database.ledger"]))
            .contains("must be absolute")
    );
}

#[test]
fn a_first_look_says_what_is_set_before_anything_must_be_complete() {
    let none: [&str; 0] = [];
    let config = rig().load(ledger().needs(none)).unwrap();
    assert!(!config.is_set("database.ledger.url") && !config.is_set("database.ledger"));
    let loader: Loader = ledger().provide("database.ledger.url", "postgres://127.0.0.1:1/db", "dev services");
    let config = rig().load(loader).unwrap();
    assert!(config.is_set("database.ledger.url"));
    assert_eq!(
        config.entry("database.ledger.url").unwrap().to_string(),
        "database.ledger.url = *** (dev services, literal)"
    );
}
