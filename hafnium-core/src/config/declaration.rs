//! What a service declared, without its types.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::de;
use super::problem::{Problem, ProblemKind};
use super::section::{Alias, Composed};
use super::tree::Node;

/// One declared instance: a section, one name of it, or the team's settings.
#[derive(Clone)]
pub(crate) struct Declared {
    pub(crate) path: Vec<String>,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) read: fn(&Node) -> Result<(), de::Error>,
    pub(crate) aliases: &'static [Alias],
    pub(crate) composed: &'static [Composed],
}

impl Declared {
    pub(crate) fn new<T: DeserializeOwned + JsonSchema>(
        path: Vec<String>,
        aliases: &'static [Alias],
        composed: &'static [Composed],
    ) -> Self {
        Self {
            path,
            schema: |generator| generator.subschema_for::<T>(),
            read: |node| de::from_node::<T>(node).map(drop),
            aliases,
            composed,
        }
    }
}

/// What can't be declared: the same instance twice, one instance beside named ones, a name no variable can spell.
pub(crate) fn problems(declared: &[Declared]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, Declared { path, .. }) in declared.iter().enumerate() {
        let key = path.join(".");
        let mut refuse = |reason: &str| {
            problems.push(Problem::of(ProblemKind::Declaration, &key, reason));
        };
        if path.iter().any(|name| !is_name(name)) {
            refuse("a declared name consists of a-z, 0-9 and _, and has no __");
        }
        let others = declared.iter().take(index).map(|other| &other.path);
        for other in others.filter(|other| other.first() == path.first()) {
            if other == path {
                refuse("declared twice");
            } else if other.len() != path.len() {
                refuse("declared both as the only instance and by name");
            }
        }
    }
    problems
}

fn is_name(name: &str) -> bool {
    let spelled = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    spelled && !name.is_empty() && !name.contains("__")
}
