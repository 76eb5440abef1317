//! Well-known variables, such as `DATABASE_URL`, that stand for a key. An empty one counts as not set.

use super::super::catalogue::Catalogue;
use super::super::environment::Environment;
use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::{Layer, secret_of_file_form, variable_name, variables};

/// A well-known variable and the keys it could stand for. With more than one key it stands for none.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) variable: String,
    pub(crate) keys: Vec<Vec<String>>,
}

/// Reads the bound variables. A variable of the layer below (`HAFNIUM__..`) that says something else is a conflict.
pub(crate) fn read(bindings: &[Binding], sources: &Sources, catalogue: &Catalogue, below: &Node) -> Layer {
    let mut layer = Layer::empty();
    for Binding { variable, keys } in bindings {
        let file_form = format!("{variable}_FILE");
        for (name, is_file) in [(variable, false), (&file_form, true)] {
            let Some(value) = sources.get(name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let origin = Origin::Variable(name.clone());
            let refuse = |kind, reason: String| Problem::of(kind, name, reason).at(origin.clone());
            let [path] = keys.as_slice() else {
                layer.problems.push(refuse(ProblemKind::Conflict, several(keys)));
                continue;
            };
            let Some(value) = value.to_str() else {
                let reason = "the value is not UTF-8 text".to_owned();
                layer.problems.push(refuse(ProblemKind::Source, reason));
                continue;
            };
            let text = if is_file {
                if !is_secret_file(path, catalogue) {
                    continue;
                }
                format!("file:{value}")
            } else {
                value.to_owned()
            };
            let node = Node::text(text, origin.clone());
            let rivals = [below.at(path), layer.tree.at(path)];
            let rival = rivals
                .into_iter()
                .flatten()
                .find(|rival| contradicts(path, rival, &node))
                .map(|rival| rival.origin.clone());
            match rival {
                Some(rival) => {
                    let reason = format!("set twice, differently: by {rival} and by {name}");
                    let problem = Problem::of(ProblemKind::Conflict, path.join("."), reason);
                    layer.problems.push(problem.at(origin));
                }
                None => layer.put(path, node),
            }
        }
    }
    layer
}

/// Why a well-known variable is of no use where several instances could be meant.
pub(super) fn several(keys: &[Vec<String>]) -> String {
    let variables: Vec<_> = keys.iter().map(|key| variable_name(&key.join("."))).collect();
    format!(
        "this variable can't tell {} instances apart; set {} instead",
        keys.len(),
        variables.join(" and ")
    )
}

fn is_secret_file(path: &[String], catalogue: &Catalogue) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut file_form = parents.to_vec();
    file_form.push(format!("{last}_file"));
    secret_of_file_form(&file_form, catalogue).is_some()
}

fn contradicts(path: &[String], one: &Node, other: &Node) -> bool {
    if let (["environment"], Value::Text(one), Value::Text(other)) = (
        &*path.iter().map(String::as_str).collect::<Vec<_>>(),
        &one.value,
        &other.value,
    ) {
        // `prod` and `production` are one environment.
        if let (Ok(one), Ok(other)) = (one.parse::<Environment>(), other.parse::<Environment>()) {
            return one != other;
        }
    }
    variables::differs(one, other)
}
