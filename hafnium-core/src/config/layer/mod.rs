//! The layers of a configuration, each read into a tree of its own.

pub(crate) mod aliases;
pub(crate) mod composed;
pub(crate) mod directory;
mod file;
mod set;
pub(crate) mod stack;
mod variables;

use super::catalogue::Catalogue;
use super::origin::Origin;
use super::problem::{Problem, ProblemKind};
use super::tree::Node;

/// What separates the parts of a key in the name of a variable.
const SEPARATOR: &str = "__";
/// What begins the name of a variable that stands for a key.
const PREFIX: &str = "HAFNIUM__";

/// What was read of one layer.
pub(crate) struct Layer {
    pub(crate) tree: Node,
    pub(crate) problems: Vec<Problem>,
}

impl Layer {
    pub(crate) fn empty() -> Self {
        Self {
            tree: Node::table(Origin::Default),
            problems: Vec::new(),
        }
    }

    /// Puts a value at its key; a value where another one has a table is a problem.
    pub(crate) fn put(&mut self, path: &[String], node: Node) {
        let origin = node.origin.clone();
        if let Err(clash) = self.tree.insert(path, node) {
            let reason = format!("is given a value here and keys below it by {}", clash.other);
            let problem = Problem::of(ProblemKind::Conflict, path.join("."), reason);
            self.problems.push(problem.at(origin));
        }
    }
}

/// The variable that stands for a key: `http.port` is `HAFNIUM__HTTP__PORT`.
pub(crate) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// The key of the secret whose file the variable names, when `path` is the `_FILE` form of one.
fn secret_of_file_form(path: &[String], catalogue: &Catalogue) -> Option<Vec<String>> {
    if catalogue.at(path).is_some() {
        return None;
    }
    let (last, parents) = path.split_last()?;
    let mut secret = parents.to_vec();
    secret.push(last.strip_suffix("_file")?.to_owned());
    catalogue
        .at(&secret)
        .is_some_and(|shape| shape.is_secret())
        .then_some(secret)
}
