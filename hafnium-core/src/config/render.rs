//! The effective configuration as a text or a document: for the command `config` and for `/config`.

use serde_json::{Value as Json, json};

use super::effective::Config;
use super::entry::Entry;
use super::environment::Basis;

impl Config {
    /// A line about the environment and then one for each effective value, with its origin. Secrets show as `***`.
    pub fn render_text(&self) -> String {
        let mut text = format!(
            "# {}, environment {}: {}\n",
            self.inner().service,
            self.environment(),
            because(self.environment_basis())
        );
        for entry in self.entries() {
            text.push_str(&format!("{entry}\n"));
        }
        text
    }

    /// The same as a document: `service`, `environment` and `because`, `place`, and `entries`, each with `key`,
    /// `value`, `origin`, and for a secret where it comes from (`secret`) and which value is in use (`version`).
    pub fn render_json(&self) -> Json {
        let place = self.place();
        json!({
            "service": self.inner().service,
            "environment": self.environment().as_str(),
            "because": because(self.environment_basis()),
            "place": {
                "region": place.region,
                "zone": place.zone,
                "cell": place.cell,
                "role": place.role,
            },
            "entries": self.entries().iter().map(entry).collect::<Vec<_>>(),
        })
    }
}

fn entry(entry: &Entry) -> Json {
    json!({
        "key": entry.key,
        "value": entry.value,
        "origin": entry.origin.to_string(),
        "secret": entry.secret.as_ref().map(ToString::to_string),
        "version": entry.version,
    })
}

fn because(basis: &Basis) -> String {
    match basis {
        Basis::Configured(origin) => format!("said by {origin}"),
        Basis::Undeployed => "nobody said which, and nothing deployed this process".to_owned(),
        Basis::Strict => "nobody said which, and the strict rules hold".to_owned(),
    }
}
