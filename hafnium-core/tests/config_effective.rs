//! The listing of the effective values, and the schema of everything declared.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{CANARY, Database, http, loader, rig};
use hafnium_core::config::{Entry, Origin};

#[test]
fn every_value_is_listed_with_its_origin() {
    let rig = rig()
        .file(
            "hafnium.toml",
            "region = \"eu\"\n[http]\norigins = [\"a\", \"b\"]\n",
        )
        .variable("HAFNIUM__DATABASE__LEDGER__URL_FILE", "/proc/self/comm")
        .variable(
            "HAFNIUM__DATABASE__LEDGER__COLLECTOR",
            &format!("http://user:{CANARY}@host/x?key={CANARY}"),
        )
        .variable("PASSWORD", CANARY);
    let loader = loader()
        .section::<config_support::Http>()
        .named::<Database>("ledger")
        .set("database.ledger.password=env:PASSWORD");
    // The name of a process is no URL; only its place in the listing matters here.
    let error = rig.load(loader.clone()).unwrap_err().to_string();
    assert!(
        error.contains("not a URL: there is no `scheme://` (read from file:/proc/self/comm)"),
        "{error}"
    );
    let path = rig.path().join("url");
    std::fs::write(&path, format!("postgres://u:{CANARY}@host/db\n")).unwrap();
    let rig = rig.variable("HAFNIUM__DATABASE__LEDGER__URL_FILE", path.to_str().unwrap());
    let config = rig.load(loader).unwrap();
    let lines: Vec<_> = config.entries().iter().map(Entry::to_string).collect();
    // A value from a file or a variable has no version of its own: it is told by a hash that each process keys anew.
    let version = |key: &str| config.entry(key).unwrap().version.unwrap();
    assert_eq!(version("database.ledger.url").len(), 8);
    let expected = [
        "database.ledger.collector = http://***@host/x?*** (HAFNIUM__DATABASE__LEDGER__COLLECTOR)".to_owned(),
        format!(
            "database.ledger.password = *** (--set, env:PASSWORD, version {})",
            version("database.ledger.password")
        ),
        "database.ledger.pool.acquire_timeout = 5s (default)".to_owned(),
        "database.ledger.pool.size = 10 (default)".to_owned(),
        format!(
            "database.ledger.url = *** (HAFNIUM__DATABASE__LEDGER__URL_FILE, file:{}, version {})",
            path.display(),
            version("database.ledger.url")
        ),
        "http.body_limit = 2MiB (default)".to_owned(),
        "http.compress = false (default)".to_owned(),
        "http.origins = [a, b] (hafnium.toml:3)".to_owned(),
        "http.port = 8080 (default)".to_owned(),
        "http.protocol = http1 (default)".to_owned(),
        "http.request_timeout = 30s (default)".to_owned(),
        "http.shed = 90% (default)".to_owned(),
        "http.weight = 1.0 (default)".to_owned(),
        "region = eu (hafnium.toml:1)".to_owned(),
        "role = active (default)".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert!(!format!("{config:?}").contains(CANARY));
}

#[test]
fn a_default_is_not_set() {
    let config = rig().load(http().set("http.port=1")).unwrap();
    assert!(config.is_set("http.port") && config.is_set("http"));
    assert!(!config.is_set("http.weight") && !config.is_set("admin"));
    assert_eq!(config.origin("http.port"), Some(&Origin::Set));
    assert_eq!(config.origin("http.weight"), None);
}

#[test]
fn the_schema_holds_every_declared_key() {
    let schema = http().named::<Database>("ledger").schema();
    let at = |pointer: &str| {
        schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} in {schema:#}"))
    };
    assert_eq!(
        at("/properties/database/properties/ledger/$ref"),
        "#/$defs/DatabaseSettings"
    );
    assert_eq!(at("/$defs/DatabaseSettings/properties/url/format"), "secret");
    assert_eq!(at("/properties/http/$ref"), "#/$defs/HttpSettings");
    assert_eq!(at("/properties/environment/enum/0"), "dev");
    // An editor that knows the schema tells of a misspelled key while it is written.
    for place in [
        "/additionalProperties",
        "/properties/database/additionalProperties",
    ] {
        assert_eq!(at(place), false);
    }
}
