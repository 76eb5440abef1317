//! The effective configuration as a text or a document: for the command `config` and for `/config`.

use serde_json::{Value as Json, json};

use super::effective::Config;
use super::entry::Entry;
use super::environment::Basis;
use super::live::Live;
use super::problem::Problem;

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

    /// The same as a document: `service`, `environment` with `name` and `because`, and `values`, each with `key`,
    /// `value`, `origin`, and for a secret `secret` with its `source` and `version`.
    pub fn render_json(&self) -> Json {
        json!({
            "service": self.inner().service,
            "environment": {
                "name": self.environment().as_str(),
                "because": because(self.environment_basis()),
            },
            "values": self.entries().iter().map(value).collect::<Vec<_>>(),
        })
    }
}

impl Live {
    /// [`Config::render_text`] of what is in force, and below it what the sources say and is not: refused, or waiting
    /// for a restart.
    pub fn render_text(&self) -> String {
        let mut text = self.current().render_text();
        let standing = self.standing();
        for key in &standing.restart {
            text.push_str(&format!("# {key}: changed, and needs a restart to take effect\n"));
        }
        for problem in &standing.refused {
            text.push_str(&format!("# refused: {problem}\n"));
        }
        text
    }

    /// [`Config::render_json`] of what is in force, with the keys `restart` and the problems `refused` besides.
    pub fn render_json(&self) -> Json {
        let mut document = self.current().render_json();
        let standing = self.standing();
        document["restart"] = json!(standing.restart);
        document["refused"] = standing.refused.iter().map(Problem::to_string).collect();
        document
    }
}

fn value(entry: &Entry) -> Json {
    let mut value = json!({
        "key": entry.key,
        "value": entry.value,
        "origin": entry.origin.to_string(),
    });
    if let Some(source) = &entry.secret {
        value["secret"] = json!({ "source": source.to_string(), "version": entry.version });
    }
    value
}

fn because(basis: &Basis) -> String {
    match basis {
        Basis::Configured(origin) => format!("said by {origin}"),
        Basis::Undeployed => "nobody said which, and nothing deployed this process".to_owned(),
        Basis::Strict => "nobody said which, and the strict rules hold".to_owned(),
    }
}
