//! The reference of a service's keys, generated from the types that read them.

use std::collections::{BTreeMap, BTreeSet};

use super::adopt::is_reloadable;
use super::catalogue::{Catalogue, Shape};
use super::check::join;
use super::declaration::Declared;
use super::entry;
use super::layer::variable_name;
use super::show;

/// How deep keys are followed; a recursive type has no end of its own.
const DEPTH: usize = 16;
/// Stands for the name of an instance, for a key of a map, for the place in a list.
const ANY: &str = "<name>";

/// Everything a page tells of one service.
pub(crate) struct Reference<'a> {
    pub(crate) service: &'a str,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) declared: &'a [Declared],
    /// The well-known variables, by key.
    pub(crate) aliases: &'a BTreeMap<String, Vec<String>>,
}

impl Reference<'_> {
    /// The page, in Markdown.
    pub(crate) fn render(&self) -> String {
        let mut page = self.introduction();
        let own: Vec<_> = self.catalogue.root().properties();
        let of_sections: BTreeSet<&str> = self
            .declared
            .iter()
            .filter_map(|declared| declared.path.first().map(String::as_str))
            .collect();
        let of_the_service = own.iter().filter(|(name, _)| !of_sections.contains(name));
        let rows = of_the_service.flat_map(|(name, shape)| self.rows(name, name, *shape));
        section(&mut page, "Every service", "", rows.collect());
        for key in of_sections {
            self.section(&mut page, key);
        }
        page
    }

    fn introduction(&self) -> String {
        format!(
            "# Configuration of {}\n\n\
             Generated from the types that read it (`{} config --reference`). Do not edit.\n\n\
             Layers, last wins: defaults, `hafnium.toml`, `hafnium.<environment>.toml`, the files of \
             `HAFNIUM_CONFIG_DIR`, variables, `--set key=value`. A key that is marked *live* changes without a restart \
             when a file changes or on SIGHUP. A secret is written as it is, or as a reference: `env:NAME`, \
             `file:/path`, `aws-sm:name#key`, `aws-ssm:/path`, `vault:mount/path#key`, `vault-db:role`, \
             `vault-static:role`; with `_FILE` behind its variable, that names a file.\n",
            self.service, self.service
        )
    }

    /// One section; several named instances of it are told once.
    fn section(&self, page: &mut String, key: &str) {
        let instances: Vec<&Declared> = self
            .declared
            .iter()
            .filter(|declared| declared.path.first().is_some_and(|first| first == key))
            .collect();
        let Some(first) = instances.first() else { return };
        let Some(shape) = self.catalogue.at(&first.path) else {
            return;
        };
        let names: Vec<String> = instances
            .iter()
            .filter_map(|declared| declared.path.get(1))
            .map(|name| format!("`{name}`"))
            .collect();
        let (title, mut told) = match names.as_slice() {
            [] => (key.to_owned(), String::new()),
            names => (
                format!("{key}.{ANY}"),
                format!("Declared here: {}.\n\n", names.join(", ")),
            ),
        };
        told.push_str(&about(description(shape), key));
        let rows = self.rows(&title, &first.path.join("."), shape);
        section(page, &format!("`{title}`"), told.trim(), rows);
    }

    /// The rows of everything at and below `key`, which is shown as `shown`.
    fn rows(&self, shown: &str, key: &str, shape: Shape<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        let place = Place {
            shown: shown.to_owned(),
            key: key.to_owned(),
            default: None,
            reloadable: false,
            required: false,
            meaning: String::new(),
        };
        self.walk(place, shape, DEPTH, &mut rows);
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        rows
    }

    fn walk(&self, place: Place, shape: Shape<'_>, depth: usize, rows: &mut Vec<Row>) {
        let reloadable = place.reloadable || is_reloadable(shape);
        let default = shape.default().cloned().or(place.default);
        let outer = shape;
        let shape = shape.plain();
        let properties = shape.properties();
        let additional = shape.additional();
        let is_table = shape.is_table() && (!properties.is_empty() || additional.is_some());
        let Some(depth) = depth.checked_sub(1).filter(|_| is_table) else {
            let accepted = match show::accepted(shape) {
                url if shape.is_secret() && show::schemes(shape).is_some() => {
                    format!("{url}, or a reference to a secret")
                }
                accepted => accepted,
            };
            rows.push(Row {
                names: self.names(&place.shown, &place.key),
                accepted,
                default: match (&default, place.required) {
                    (Some(_), _) if shape.is_secret() => "`***`".to_owned(),
                    (Some(default), _) => format!("`{}`", entry::plain(default)),
                    (None, true) => "**required**".to_owned(),
                    (None, false) => "none".to_owned(),
                },
                reloadable,
                meaning: prose(first_of(description(outer), &place.meaning)),
                key: place.shown,
            });
            return;
        };
        for (name, below) in &properties {
            let place = Place {
                shown: join(&place.shown, name),
                key: join(&place.key, name),
                default: default.as_ref().and_then(|default| default.get(name)).cloned(),
                reloadable,
                required: shape.requires(name) && outer.alternatives().is_empty(),
                meaning: String::new(),
            };
            let place = Place {
                default: place.default.filter(|default| !default.is_null()),
                ..place
            };
            self.walk(place, *below, depth, rows);
        }
        if let Some(below) = additional {
            let place = Place {
                shown: join(&place.shown, ANY),
                key: join(&place.key, ANY),
                default: None,
                reloadable,
                required: false,
                meaning: first_of(description(outer), &place.meaning).to_owned(),
            };
            self.walk(place, below, depth, rows);
        }
    }

    /// The key, its variable and the well-known variables that stand for it.
    fn names(&self, shown: &str, key: &str) -> String {
        let mut names = format!("`{shown}`<br>`{}`", variable_name(shown));
        for alias in self.aliases.get(key).into_iter().flatten() {
            names.push_str(&format!("<br>`{alias}`"));
        }
        names
    }
}

/// Where a walk is.
struct Place {
    shown: String,
    key: String,
    /// What the default of a table around it says.
    default: Option<serde_json::Value>,
    reloadable: bool,
    required: bool,
    /// What the map around it means, where it says nothing itself.
    meaning: String,
}

struct Row {
    key: String,
    names: String,
    accepted: String,
    default: String,
    reloadable: bool,
    meaning: String,
}

fn section(page: &mut String, title: &str, told: &str, rows: Vec<Row>) {
    page.push_str(&format!("\n## {title}\n\n"));
    if !told.is_empty() {
        page.push_str(&format!("{told}\n\n"));
    }
    page.push_str("| key, variables | accepted | default | live | meaning |\n|---|---|---|---|---|\n");
    for row in rows {
        let live = if row.reloadable { "live" } else { "" };
        page.push_str(&format!(
            "| {} | {} | {} | {live} | {} |\n",
            row.names,
            cell(&row.accepted),
            cell(&row.default),
            cell(&row.meaning)
        ));
    }
}

/// One line without what ends a cell.
fn cell(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn first_of<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.is_empty() { other } else { one }
}

fn description<'a>(shape: Shape<'a>) -> &'a str {
    let of = |shape: Shape<'a>| shape.keyword("description").and_then(serde_json::Value::as_str);
    of(shape).or_else(|| of(shape.plain())).unwrap_or_default()
}

/// What the doc comment of a section tells beyond its name: no example in Rust, no sentence that only names it.
fn about(text: &str, key: &str) -> String {
    let text: String = text.split("```").step_by(2).collect();
    let paragraphs = text.split("\n\n").map(str::trim);
    let named = [
        format!("The section `{key}`."),
        format!("What is below `{key}.<name>`."),
    ];
    let told: Vec<_> = paragraphs
        .filter(|one| !one.is_empty() && !named.iter().any(|name| name == one))
        .collect();
    prose(&told.join("\n\n"))
}

/// A doc comment without what only rustdoc can follow: `[Loader](crate::Loader)` and `[Loader]` become `Loader`.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        prose.push_str(before);
        let Some((label, behind)) = after.split_once(']') else {
            prose.push('[');
            rest = after;
            continue;
        };
        match behind.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((target, behind)) if target.starts_with("http") => {
                prose.push_str(&format!("[{label}]({target})"));
                rest = behind;
            }
            Some((_, behind)) => {
                prose.push_str(label);
                rest = behind;
            }
            None if label.starts_with('`') => {
                prose.push_str(label);
                rest = behind;
            }
            None => {
                prose.push_str(&format!("[{label}]"));
                rest = behind;
            }
        }
    }
    prose.push_str(rest);
    prose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_only_rustdoc_follows_become_their_text() {
        for (doc, read) in [
            ("as [`Loader`](crate::Loader) says", "as `Loader` says"),
            ("see [`Loader`]", "see `Loader`"),
            (
                "see [RFC 9457](https://a.example/9457)",
                "see [RFC 9457](https://a.example/9457)",
            ),
            ("a list [1, 2] and [open", "a list [1, 2] and [open"),
        ] {
            assert_eq!(prose(doc), read);
        }
    }

    #[test]
    fn a_cell_is_one_line_and_ends_where_it_should() {
        assert_eq!(cell("a |\n b"), "a \\| b");
    }
}
