//! The effective configuration as a listing, with the origin of every value.

use std::fmt;

use serde_json::Value as Json;

use super::catalogue::Shape;
use super::check::join;
use super::origin::Origin;
use super::show;
use super::tree::{Node, Value};
use crate::secret::Source;

/// How deep a listing goes; the schema of a recursive type has no end of its own.
const DEPTH: usize = 16;

/// One effective value. A secret's value is `***`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The whole key, such as `http.port`.
    pub key: String,
    /// The value as it is shown: text without quotes, a list in brackets, `***` for a secret.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
    /// Where a secret was read; none for what is no secret.
    pub secret: Option<Source>,
    /// Which value of a secret is in use: the first digits of a hash of its version.
    pub version: Option<String>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({}", self.key, self.value, self.origin)?;
        if let Some(source) = &self.secret {
            write!(f, ", {source}")?;
        }
        match &self.version {
            Some(version) => write!(f, ", version {version})"),
            None => f.write_str(")"),
        }
    }
}

/// Lists everything that is set, and every default that a schema carries.
pub(crate) fn list(root: &Node, shape: Shape<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    walk("", shape, Some(root), None, DEPTH, &mut entries);
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    entries
}

fn walk(
    key: &str,
    shape: Shape<'_>,
    node: Option<&Node>,
    default: Option<&Json>,
    depth: usize,
    entries: &mut Vec<Entry>,
) {
    let default = shape.default().or(default);
    // What is optional and not set has no values of its own, whatever its fields' defaults are.
    let always = shape.is_table() && !shape.types().contains(&"null");
    let shape = shape.plain();
    let table = match (node.map(|node| &node.value), default) {
        (Some(Value::Table(table)), _) => Some(table),
        (Some(_), _) => {
            entries.extend(node.map(|node| set(key, node, shape)));
            return;
        }
        (None, Some(Json::Object(_))) => None,
        (None, Some(default)) => {
            entries.push(unset(key, default, shape));
            return;
        }
        (None, None) if always => None,
        (None, None) => return,
    };
    let Some(depth) = depth.checked_sub(1) else { return };
    let properties = shape.properties();
    for (name, property) in &properties {
        let below = table.and_then(|table| table.get(*name));
        let default = default.and_then(|default| default.get(name));
        let default = default.filter(|value| !value.is_null());
        walk(&join(key, name), *property, below, default, depth, entries);
    }
    let others = table.into_iter().flatten();
    for (name, below) in others.filter(|(name, _)| !properties.iter().any(|(known, _)| known == name)) {
        let key = join(key, name);
        match shape.additional() {
            Some(shape) => walk(&key, shape, Some(below), None, depth, entries),
            None => entries.push(set(&key, below, shape)),
        }
    }
}

fn set(key: &str, node: &Node, shape: Shape<'_>) -> Entry {
    Entry {
        key: key.to_owned(),
        value: show::effective(node, Some(shape)),
        origin: node.origin.clone(),
        secret: match &node.value {
            Value::Secret(leaf) => Some(leaf.secret.source().clone()),
            _ => None,
        },
        version: match &node.value {
            // A literal has no other value it could be told from.
            Value::Secret(leaf) if *leaf.secret.source() == Source::Literal => None,
            Value::Secret(leaf) if leaf.secret.is_pending() => Some(lacking(leaf.secret.source()).to_owned()),
            Value::Secret(leaf) => Some(leaf.secret.current().version().shown().to_owned()),
            _ => None,
        },
    }
}

/// Why a secret has no value.
fn lacking(source: &Source) -> &'static str {
    match source {
        Source::Remote(_) => "not fetched",
        _ => "not there",
    }
}

fn unset(key: &str, default: &Json, shape: Shape<'_>) -> Entry {
    let value = match shape.is_secret() {
        true => "***".to_owned(),
        false => plain(default),
    };
    Entry {
        key: key.to_owned(),
        value,
        origin: Origin::Default,
        secret: None,
        version: None,
    }
}

pub(crate) fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
