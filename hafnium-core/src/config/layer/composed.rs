//! Well-known variables that make one value together, such as libpq's `PGHOST`, `PGPORT` and so on a URL.

use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::section::{ComposeError, Composed, Parts};
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::{Layer, aliases};

/// Variables that make one value together, and the keys it could be for. With more than one key it is for none.
#[derive(Debug, Clone)]
pub(crate) struct Composition {
    pub(crate) composed: Composed,
    pub(crate) keys: Vec<Vec<String>>,
}

/// Reads the variables of each. `stating` are the trees whose values for the same keys may be completed and must not be
/// contradicted.
pub(crate) fn read(compositions: &[Composition], sources: &Sources, stating: [&Node; 2]) -> Layer {
    let mut layer = Layer::empty();
    for Composition { composed, keys } in compositions {
        let mut set = Vec::new();
        for name in composed.variables {
            match sources
                .get(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_str())
            {
                Some(Some(value)) => set.push((*name, value)),
                Some(None) => refuse(
                    &mut layer,
                    ProblemKind::Source,
                    name,
                    name,
                    "the value is not UTF-8 text",
                ),
                None => {}
            }
        }
        let Some((first, _)) = set.first().copied() else {
            continue;
        };
        let [path] = keys.as_slice() else {
            refuse(
                &mut layer,
                ProblemKind::Conflict,
                first,
                first,
                &aliases::several(keys),
            );
            continue;
        };
        let stated = stating.iter().find_map(|tree| tree.at(path));
        let text = stated.and_then(|node| match &node.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let names = set.iter().map(|(name, _)| (*name).to_owned());
        let origin = match stated.map(|node| &node.origin) {
            Some(other) => Origin::Variables([other.to_string()].into_iter().chain(names).collect()),
            None => Origin::Variables(names.collect()),
        };
        let key = path.join(".");
        match (composed.compose)(&Parts { set, stated: text }) {
            Ok(Some(value)) if text == Some(&value) => {}
            Ok(Some(value)) => layer.put(path, Node::text(value, origin)),
            Ok(None) => {}
            Err(ComposeError::Contradicts(name)) => {
                let other = stated.map(|node| node.origin.to_string()).unwrap_or_default();
                let reason = format!("set twice, differently: by {other} and by {name}");
                refuse(&mut layer, ProblemKind::Conflict, &key, name, &reason);
            }
            Err(ComposeError::Refused { variable, reason }) => {
                refuse(&mut layer, ProblemKind::Value, &key, variable, reason);
            }
        }
    }
    layer
}

fn refuse(layer: &mut Layer, kind: ProblemKind, key: &str, variable: &str, reason: &str) {
    let problem = Problem::of(kind, key, reason);
    layer
        .problems
        .push(problem.at(Origin::Variable(variable.to_owned())));
}
