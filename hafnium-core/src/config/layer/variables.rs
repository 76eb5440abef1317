//! `HAFNIUM__A__B` stands for the key `a.b`. What a variable holds is text; its key's type decides what it means.

use super::super::catalogue::Catalogue;
use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::{Layer, PREFIX, SEPARATOR, secret_of_file_form};

pub(crate) fn read(sources: &Sources, catalogue: &Catalogue) -> Layer {
    let mut layer = Layer::empty();
    let names = sources
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)));
    let mut variables: Vec<_> = names.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort_unstable();
    for (name, value) in variables {
        let origin = Origin::Variable(name.to_owned());
        let path: Vec<_> = name[PREFIX.len()..]
            .split(SEPARATOR)
            .map(str::to_lowercase)
            .collect();
        let refuse = |reason: &str| Problem::of(ProblemKind::Source, name, reason).at(origin.clone());
        if path.iter().any(String::is_empty) {
            let reason = "the name of a key's variable has one word or more between each `__`";
            layer.problems.push(refuse(reason));
            continue;
        }
        let Some(value) = value.to_str() else {
            layer.problems.push(refuse("the value is not UTF-8 text"));
            continue;
        };
        let (path, node) = match secret_of_file_form(&path, catalogue) {
            Some(secret) => (secret, Node::text(format!("file:{value}"), origin.clone())),
            None => (path, Node::text(value, origin.clone())),
        };
        match layer.tree.at(&path) {
            Some(present) if differs(present, &node) => {
                let reason = format!("set twice, differently: by {} and by {name}", present.origin);
                let problem = Problem::of(ProblemKind::Conflict, path.join("."), reason);
                layer.problems.push(problem.at(origin));
            }
            Some(Node {
                value: Value::Text(_),
                ..
            }) => {}
            _ => layer.put(&path, node),
        }
    }
    layer
}

/// Whether both are text and not the same.
pub(super) fn differs(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Text(one), Value::Text(other)) => one != other,
        _ => false,
    }
}
