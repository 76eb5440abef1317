//! All layers, from the lowest to the highest.

use std::path::{Path, PathBuf};

use super::super::catalogue::Catalogue;
use super::super::environment::{Basis, Environment};
use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::aliases::{self, Binding};
use super::composed::{self, Composition};
use super::{Layer, directory, file, set, variables};

/// The variable that names the mounted config tree.
const CONFIG_DIR: &str = "HAFNIUM_CONFIG_DIR";

/// What the layers are read from.
pub(crate) struct Inputs<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) bindings: &'a [Binding],
    pub(crate) compositions: &'a [Composition],
    pub(crate) provided: &'a [(Vec<String>, Node)],
    pub(crate) set: &'a [String],
    pub(crate) environment: Option<&'a str>,
}

/// Every layer but the file of the environment, which nobody knows before these are read.
pub(crate) struct Stack {
    /// Below the file of the environment: what the program provides, and `hafnium.toml`.
    below: [Layer; 2],
    /// Above it: the mounted tree, variables, aliases, what several make together, `--set`, `--environment`.
    above: [Layer; 6],
}

impl Stack {
    pub(crate) fn read(inputs: &Inputs<'_>, catalogue: &Catalogue) -> Self {
        let sources = inputs.sources;
        let mut provided = Layer::empty();
        for (path, node) in inputs.provided {
            provided.put(path, node.clone());
        }
        let mut flag = Layer::empty();
        if let Some(name) = inputs.environment {
            let node = Node::text(name, Origin::Flag("--environment"));
            flag.put(&["environment".to_owned()], node);
        }
        let variables = variables::read(sources, catalogue);
        let aliases = aliases::read(inputs.bindings, sources, catalogue, &variables.tree);
        let stating = [&aliases.tree, &variables.tree];
        let composed = composed::read(inputs.compositions, sources, stating);
        Self {
            below: [provided, read_file(sources, "hafnium.toml")],
            above: [
                mounted(sources),
                variables,
                aliases,
                composed,
                set::read(inputs.set),
                flag,
            ],
        }
    }

    /// What the highest layer that says so calls the environment.
    pub(crate) fn environment(&self) -> Option<(&str, Origin)> {
        let layers = self.below.iter().chain(&self.above).rev();
        layers.into_iter().find_map(|layer| said(&layer.tree))
    }

    /// One tree of all layers, and what could not be read.
    pub(crate) fn merge(
        self,
        sources: &Sources,
        environment: Environment,
        basis: &Basis,
    ) -> (Node, Vec<Problem>) {
        let file = match basis {
            // Nobody named an environment, so no file of one is meant.
            Basis::Strict => Layer::empty(),
            _ => environment_file(sources, environment),
        };
        let mut whole = Layer::empty();
        for layer in self.below.into_iter().chain([file]).chain(self.above) {
            whole.tree.merge(layer.tree);
            whole.problems.extend(layer.problems);
        }
        (whole.tree, whole.problems)
    }
}

fn said(tree: &Node) -> Option<(&str, Origin)> {
    let node = tree.at(&["environment"])?;
    match &node.value {
        Value::Text(name) | Value::String(name) => Some((name, node.origin.clone())),
        _ => None,
    }
}

/// The file of the environment; it can't say that this is another one.
fn environment_file(sources: &Sources, environment: Environment) -> Layer {
    let mut layer = read_file(sources, &format!("hafnium.{environment}.toml"));
    if let Some((name, origin)) = said(&layer.tree)
        && name.parse() != Ok(environment)
    {
        let reason = format!("this file is read in {environment} and can't name another environment");
        let problem = Problem::of(ProblemKind::Conflict, "environment", reason);
        layer.problems.push(problem.at(origin));
    }
    layer
}

fn read_file(sources: &Sources, name: &str) -> Layer {
    match sources.file(name) {
        Some(path) => file::read(&path, Path::new(name)),
        None => Layer::empty(),
    }
}

fn mounted(sources: &Sources) -> Layer {
    match mounted_tree(sources) {
        Some(path) => directory::read(&path),
        None => Layer::empty(),
    }
}

/// Where the mounted config tree is, if there is one.
pub(crate) fn mounted_tree(sources: &Sources) -> Option<PathBuf> {
    let path = sources.get(CONFIG_DIR).filter(|value| !value.is_empty())?;
    Some(sources.base().join(path))
}
