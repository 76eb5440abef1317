//! Configuration values and units, through every layer that text comes in by.

use hafnium_core::config::{ByteSize, Duration, Loader, Ratio, Sources};
use schemars::JsonSchema;
use serde::Deserialize;

/// A key of every kind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Every {
    duration: Duration,
    size: ByteSize,
    ratio: Ratio,
    number: u16,
    float: f64,
    flag: bool,
    text: String,
    list: Vec<u8>,
    #[schemars(extend("x-url-schemes" = ["postgres"]))]
    url: Option<String>,
    address: Option<std::net::IpAddr>,
}

impl Default for Every {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(1),
            size: ByteSize::from_bytes(1),
            ratio: Ratio::from_percent(1),
            number: 1,
            float: 1.0,
            flag: false,
            text: String::new(),
            list: Vec::new(),
            url: None,
            address: None,
        }
    }
}

const KEYS: [&str; 10] = [
    "duration", "size", "ratio", "number", "float", "flag", "text", "list", "url", "address",
];

/// The first byte chooses the way in, the rest is what comes in.
pub(crate) fn fuzz_config_values_and_units(input: &[u8]) {
    let Some((way, rest)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    units(&text);
    let key = KEYS[usize::from(way >> 2) % KEYS.len()];
    let loader = Loader::new("fuzz").settings::<Every>();
    let sources = Sources::none();
    let loaded = match way % 4 {
        0 => loader.set(text.clone()).sources(sources).load(),
        1 => loader
            .set(format!("settings.{key}={text}"))
            .sources(sources)
            .load(),
        2 => {
            let variable = format!("HAFNIUM__SETTINGS__{}", key.to_uppercase());
            let text = text.replace('\0', "");
            loader.sources(sources.variable(variable, text)).load()
        }
        _ => {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("hafnium.toml"), rest).unwrap();
            loader.sources(sources.directory(directory.path())).load()
        }
    };
    match loaded {
        // What the schema let through must be readable, and must be listed.
        Ok(config) => {
            config.settings::<Every>().unwrap();
            assert!(config.entries().iter().all(|entry| !entry.to_string().is_empty()));
        }
        Err(error) => assert!(!error.problems().is_empty() && !error.to_string().is_empty()),
    }
}

/// What a unit understands it also writes, and understands again as the same.
fn units(text: &str) {
    if let Ok(duration) = text.parse::<Duration>() {
        let again: Duration = duration.to_string().parse().unwrap();
        assert!(again.get().abs_diff(duration.get()) < std::time::Duration::from_millis(1));
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }
    if let Ok(ratio) = text.parse::<Ratio>() {
        ratio.to_string().parse::<Ratio>().unwrap();
    }
}
