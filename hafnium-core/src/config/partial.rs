//! Settings as far as they are right: what checks look at, so that one wrong value hides no other.

use std::fmt;

use serde::de::DeserializeOwned;

use super::de;
use super::effective::{Config, is_below, refusal};
use super::origin::Origin;
use super::pending;
use super::problem::Problem;
use super::section::Section;
use super::tree::{Node, Value};

/// Settings without what can't be read: a value with a problem of its own, or a secret that is still to be fetched. In
/// its place stands what would be there if nobody had set it.
#[non_exhaustive]
pub struct Partial<T> {
    /// The settings.
    pub settings: T,
    key: String,
    left_out: Vec<String>,
}

impl<T> Partial<T> {
    /// Whether nothing can be said of this key of the section, because it was left out or is missing.
    pub fn lacks(&self, key: &str) -> bool {
        self.left_out.iter().any(|left_out| is_below(key, left_out))
    }

    /// Whether this key of the section, or something below it, was left out or is missing.
    pub fn lacks_below(&self, key: &str) -> bool {
        let below = |left_out: &String| is_below(left_out, key);
        self.lacks(key) || self.left_out.iter().any(below)
    }

    /// A problem for each key of the section and its reason, apart from keys that were left out: what is wrong with
    /// them is told already, or not known yet.
    pub fn problems<K: AsRef<str>, R: Into<String>>(
        &self,
        found: impl IntoIterator<Item = (K, R)>,
    ) -> Vec<Problem> {
        let known = found.into_iter().filter(|(key, _)| !self.lacks(key.as_ref()));
        let problems = known.map(|(key, reason)| Problem::new(below(&self.key, key.as_ref()), reason));
        problems.collect()
    }
}

impl<T> fmt::Debug for Partial<T> {
    /// Keys only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("key", &self.key)
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The settings of a section as far as they are right; for checks, which otherwise find nothing where anything else
    /// is wrong (see [`Loader::check`](super::Loader::check)). `stand_ins` are values for keys that have no default,
    /// where theirs is missing or left out.
    ///
    /// None where nothing of it can be read.
    pub fn partial<S: Section>(&self, stand_ins: &[(&str, &str)]) -> Option<Partial<S::Settings>> {
        self.partial_at(S::KEY, stand_ins)
    }

    /// As [`Config::partial`], of one named instance.
    pub fn partial_named<S: Section>(
        &self,
        name: &str,
        stand_ins: &[(&str, &str)],
    ) -> Option<Partial<S::Settings>> {
        self.partial_at(&format!("{}.{name}", S::KEY), stand_ins)
    }

    fn partial_at<T: DeserializeOwned>(&self, key: &str, stand_ins: &[(&str, &str)]) -> Option<Partial<T>> {
        let node = self.inner().tree.find(key)?;
        let pending = pending::problems(key, node);
        let known = self.inner().problems.iter().chain(&pending);
        let mut rest = Rest::of(key, node, known)?;
        for (name, value) in stand_ins {
            if rest.node.find(name).is_none() {
                rest.left_out.push((*name).to_owned());
                let value = Node::new(Value::String((*value).to_owned()), Origin::Default);
                let _ = rest.node.insert(&[*name], value);
            }
        }
        loop {
            match de::from_node(&rest.node) {
                Ok(settings) => {
                    return Some(Partial {
                        settings,
                        key: key.to_owned(),
                        left_out: rest.left_out,
                    });
                }
                Err(error) => {
                    let refused = refusal(key, node, error);
                    rest.leave_out(refused.key()).then_some(())?;
                }
            }
        }
    }
}

/// What the type of a section refuses beyond its schema, as far as the rest of the section is known to be right.
pub(super) fn refusals<'a>(
    key: &str,
    node: &Node,
    read: fn(&Node) -> Result<(), de::Error>,
    known: impl Iterator<Item = &'a Problem>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(mut rest) = Rest::of(key, node, known) else {
        return problems;
    };
    while let Err(error) = read(&rest.node) {
        let refused = refusal(key, node, error);
        // What a table lacks that something was left out of was there.
        if rest.misses_below(refused.key()) {
            break;
        }
        let next = rest.leave_out(refused.key());
        problems.push(refused);
        if !next {
            break;
        }
    }
    problems
}

/// A section without what is wrong in it.
struct Rest<'a> {
    key: &'a str,
    node: Node,
    /// The keys below that of the section.
    left_out: Vec<String>,
}

impl<'a> Rest<'a> {
    /// None where the section itself has a problem.
    fn of<'p>(key: &'a str, node: &Node, known: impl Iterator<Item = &'p Problem>) -> Option<Self> {
        let mut rest = Self {
            key,
            node: node.clone(),
            left_out: Vec::new(),
        };
        for problem in known.filter(|problem| is_below(problem.key(), key)) {
            if problem.key() == key {
                return None;
            }
            // What is missing is not there.
            rest.leave_out(problem.key());
        }
        Some(rest)
    }

    /// Takes out what stands at a whole key; false where nothing does.
    fn leave_out(&mut self, key: &str) -> bool {
        let Some(name) = key.strip_prefix(self.key).and_then(|name| name.strip_prefix('.')) else {
            return false;
        };
        self.left_out.push(name.to_owned());
        self.node.remove(name)
    }

    fn misses_below(&self, key: &str) -> bool {
        let mut left_out = self.left_out.iter().map(|name| below(self.key, name));
        left_out.any(|left_out| is_below(&left_out, key))
    }
}

fn below(key: &str, name: &str) -> String {
    match name.is_empty() {
        true => key.to_owned(),
        false => format!("{key}.{name}"),
    }
}
