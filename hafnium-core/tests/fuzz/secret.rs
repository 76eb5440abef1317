//! What stands where a secret belongs: references, and values that look like them.

use hafnium_core::config::{Loader, Sources};
use hafnium_core::secret::{Login, Secret, Source};
use schemars::JsonSchema;
use serde::Deserialize;

/// A secret of every kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Every {
    text: Option<Secret>,
    login: Option<Login>,
    #[schemars(extend("x-url-schemes" = ["postgres"]))]
    url: Option<Secret>,
}

const MARK: &str = "c4n4ryfuzz";

/// A reference keeps what was written; what is none is a value, which no refusal and no listing repeats.
pub(crate) fn fuzz_secret_references(input: &[u8]) {
    let text = String::from_utf8_lossy(input).replace('\0', "");
    // Whatever lies on this machine is not to be opened.
    if text.starts_with("file:/") {
        return;
    }
    let text = format!("{text}{MARK}");
    let names = [
        "env:",
        "file:",
        "aws-sm:",
        "aws-ssm:",
        "vault:",
        "vault-db:",
        "vault-static:",
    ];
    let refers = names.iter().any(|name| text.starts_with(name));
    for key in ["TEXT", "LOGIN", "URL"] {
        let sources = Sources::none().variable(format!("HAFNIUM__SETTINGS__{key}"), &text);
        let loaded = Loader::new("fuzz").settings::<Every>().sources(sources).load();
        match loaded {
            Err(error) => assert!(refers || !error.to_string().contains(MARK), "{error}"),
            Ok(config) => {
                let entry = config.entry(&format!("settings.{}", key.to_lowercase())).unwrap();
                match entry.secret.as_ref().unwrap() {
                    Source::Remote(address) => assert_eq!(address.to_string(), text),
                    _ => assert!(!refers && !entry.to_string().contains(MARK), "{entry}"),
                }
                assert_eq!(entry.value, "***");
            }
        }
    }
}
