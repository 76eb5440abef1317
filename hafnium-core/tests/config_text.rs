//! Text from variables, `--set` and the tree takes the type of its key and is never guessed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use std::collections::BTreeMap;

use config_support::{Http, Protocol, http, loader, rig};
use hafnium_core::config::{Config, Ratio, Sources};
use hafnium_core::secret::Secret;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
struct Text {
    plain: String,
    optional: Option<String>,
    secret: Option<Secret>,
    anything: Option<serde_json::Value>,
    #[serde(default)]
    map: BTreeMap<String, String>,
}

fn text(value: &str) -> Config {
    let sources = ["PLAIN", "OPTIONAL", "SECRET", "ANYTHING", "MAP__KEY"]
        .into_iter()
        .fold(Sources::none(), |sources, key| {
            sources.variable(format!("HAFNIUM__SETTINGS__{key}"), value)
        });
    loader().settings::<Text>().sources(sources).load().unwrap()
}

fn is_text(value: &str) {
    let text = text(value).settings::<Text>().unwrap();
    assert_eq!(text.plain, value);
    assert_eq!(text.optional.as_deref(), Some(value));
    assert_eq!(text.secret.unwrap().current().expose(), value);
    assert_eq!(text.anything, Some(serde_json::Value::String(value.to_owned())));
    assert_eq!(text.map["key"], value);
}

#[test]
fn what_looks_like_another_type_stays_text() {
    for value in [
        "123456",
        "007",
        "1e5",
        "true",
        "false",
        "null",
        "[abc]",
        "{a=1}",
        "'x'",
        "\"x\"",
        "",
        " ",
        "a,b",
        "0x10",
        "2026-11-21",
        "a=b",
        "#x",
        "${x}",
        "inf",
    ] {
        is_text(value);
    }
}

proptest! {
    #[test]
    fn any_text_stays_what_it_is(value in "[^\\x00]*") {
        prop_assume!(!["env:", "file:", "aws-", "vault"].iter().any(|scheme| value.starts_with(scheme)));
        is_text(&value);
    }

    #[test]
    fn a_number_is_read_where_the_key_is_one(port in any::<u16>(), weight in -1e9..1e9_f64) {
        let sources = Sources::none()
            .variable("HAFNIUM__HTTP__PORT", port.to_string())
            .variable("HAFNIUM__HTTP__WEIGHT", weight.to_string());
        let http = http().sources(sources).load().unwrap().get::<Http>().unwrap();
        prop_assert_eq!((http.port, http.weight), (port, weight));
    }

    #[test]
    fn no_text_panics_and_what_is_no_port_is_refused(value in "[^\\x00]*") {
        let loader = http().set(format!("http.port={value}")).sources(Sources::none());
        prop_assert_eq!(loader.load().is_ok(), value.trim().parse::<u16>().is_ok());
    }
}

#[test]
fn every_type_can_be_written_as_text() {
    let rig = rig()
        .variable("HAFNIUM__HTTP__PORT", "81")
        .variable("HAFNIUM__HTTP__REQUEST_TIMEOUT", "250ms")
        .variable("HAFNIUM__HTTP__BODY_LIMIT", "64MiB")
        .variable("HAFNIUM__HTTP__SHED", "10%")
        .variable("HAFNIUM__HTTP__COMPRESS", "true")
        .variable("HAFNIUM__HTTP__WEIGHT", "2")
        .variable("HAFNIUM__HTTP__PROTOCOL", "h2c")
        .variable("HAFNIUM__HTTP__ORIGINS", "https://a.example, https://b.example");
    let http = rig.load(http()).unwrap().get::<Http>().unwrap();
    assert_eq!((http.port, http.compress, http.weight), (81, true, 2.0));
    assert_eq!(
        (http.request_timeout.to_string(), http.body_limit.bytes()),
        ("250ms".to_owned(), 64 << 20)
    );
    assert_eq!(
        (http.shed, http.protocol),
        (Ratio::from_percent(10), Protocol::H2c)
    );
    assert_eq!(http.origins, ["https://a.example", "https://b.example"]);
}

#[test]
fn a_typed_source_is_taken_at_its_word() {
    let report = rig()
        .file(
            "hafnium.toml",
            "[http]\nport = \"81\"\ncompress = \"true\"\nweight = 2\n",
        )
        .report(http());
    assert_eq!(report.lines().count(), 3, "{report}");
    assert!(
        report.contains("http.port (hafnium.toml:2): wrong type; found \"81\""),
        "{report}"
    );
    assert!(
        report.contains("http.compress (hafnium.toml:3): wrong type; found \"true\""),
        "{report}"
    );
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Store {
    Memory { limit: u32 },
    Remote { host: String, token: Option<String> },
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Off,
    Sampled(u8),
    Custom { rate: f64 },
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Choices {
    store: Store,
    mode: Mode,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Rest {
    retries: u8,
}

#[test]
fn enums_and_flattened_parts_are_read_too() {
    let load = |set: &[&str]| {
        let loader = loader().settings::<Choices>().set("settings.retries=3");
        let loader = set.iter().fold(loader, |loader, set| loader.set(*set));
        rig().load(loader)
    };
    let read = |set: &[&str]| load(set).unwrap().settings::<Choices>().unwrap();
    let memory = ["settings.store.kind=memory", "settings.store.limit=7"];
    let choices = read(&[&memory[..], &["settings.mode=off"]].concat());
    assert_eq!(
        (choices.store, choices.mode),
        (Store::Memory { limit: 7 }, Mode::Off)
    );
    assert_eq!(choices.rest.retries, 3);
    assert_eq!(
        read(&[&memory[..], &["settings.mode.sampled=9"]].concat()).mode,
        Mode::Sampled(9)
    );
    assert_eq!(
        read(&[&memory[..], &["settings.mode.custom.rate=1"]].concat()).mode,
        Mode::Custom { rate: 1.0 }
    );

    let report = load(&[
        "settings.store.kind=memory",
        "settings.store.limit=x",
        "settings.mode=on",
    ])
    .unwrap_err();
    let report = report.to_string();
    assert!(
        report.contains("settings.store.limit (--set): wrong type; found \"x\""),
        "{report}"
    );
    assert!(
        report.contains("settings.mode (--set): not accepted; found \"on\"; accepted: "),
        "{report}"
    );
    let report = load(&[
        "settings.store.kind=remote",
        "settings.store.hots=a",
        "settings.mode=off",
    ])
    .unwrap_err();
    let report = report.to_string();
    assert!(report.contains("did you mean `settings.store.host`?"), "{report}");
    assert!(report.contains("settings.store.host: missing"), "{report}");
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Number(u32),
    Text(String),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Eithers {
    either: Either,
    map: BTreeMap<String, u32>,
}

#[test]
fn where_text_is_one_of_several_types_it_stays_text() {
    let load = |loader: hafnium_core::config::Loader| rig().load(loader.settings::<Eithers>());
    let config = load(loader().set("settings.either=007").set("settings.map.a=1")).unwrap();
    assert_eq!(
        config.settings::<Eithers>().unwrap().either,
        Either::Text("007".to_owned())
    );
    let rig = rig().file("hafnium.toml", "[settings]\neither = 7\nmap = {}\n");
    let config = rig.load(loader().settings::<Eithers>()).unwrap();
    assert_eq!(config.settings::<Eithers>().unwrap().either, Either::Number(7));
    let report = load(loader().set("settings.either=x")).unwrap_err().to_string();
    assert!(report.contains("settings.map: missing"), "{report}");
}
