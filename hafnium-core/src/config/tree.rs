//! The merged tree: values with their origins.

use std::collections::BTreeMap;

use super::check::join;
use super::origin::Origin;
use crate::secret::Leaf;

/// A value and where it came from. A table's origin is that of its first mention.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

#[derive(Clone)]
pub(crate) enum Value {
    /// Text whose type only the schema of its key knows: from a variable, `--set` or a file of the tree.
    Text(String),
    /// A string of a typed source.
    String(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// A secret whose reference was read; its value may still be to be fetched.
    Secret(Leaf),
}

/// A place in the tree is both a value and a table.
pub(crate) struct Clash {
    pub(crate) other: Origin,
}

impl Node {
    pub(crate) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(crate) fn text(text: impl Into<String>, origin: Origin) -> Self {
        Self::new(Value::Text(text.into()), origin)
    }

    pub(crate) fn table(origin: Origin) -> Self {
        Self::new(Value::Table(BTreeMap::new()), origin)
    }

    pub(crate) fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Node> {
        path.iter().try_fold(self, |node, segment| match &node.value {
            Value::Table(entries) => entries.get(segment.as_ref()),
            _ => None,
        })
    }

    /// What stands at a whole key, in which the names of a map may hold dots themselves; of an item the list.
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        let Value::Table(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find_map(|(name, node)| match rest(key, name, node)? {
                "" => Some(node),
                rest => node.find(rest),
            })
    }

    /// Takes out what [`Node::find`] finds; false where nothing is there.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let Value::Table(entries) = &mut self.value else {
            return false;
        };
        let mut here = None;
        for (name, node) in entries.iter_mut() {
            match rest(key, name, node) {
                Some("") => here = Some(name.clone()),
                Some(rest) if node.remove(rest) => return true,
                _ => {}
            }
        }
        here.is_some_and(|name| entries.remove(&name).is_some())
    }

    /// Puts `node` at `path`, with tables on the way where there are none.
    pub(crate) fn insert<S: AsRef<str>>(&mut self, path: &[S], node: Node) -> Result<(), Clash> {
        let Value::Table(entries) = &mut self.value else {
            return Err(Clash {
                other: self.origin.clone(),
            });
        };
        match path {
            [] => Ok(()),
            [last] => match entries.get(last.as_ref()) {
                Some(present) if matches!(present.value, Value::Table(_)) => Err(Clash {
                    other: present.origin.clone(),
                }),
                _ => {
                    entries.insert(last.as_ref().to_owned(), node);
                    Ok(())
                }
            },
            [first, rest @ ..] => entries
                .entry(first.as_ref().to_owned())
                .or_insert_with(|| Node::table(node.origin.clone()))
                .insert(rest, node),
        }
    }

    /// Puts `over` on top: tables merge, everything else is replaced.
    pub(crate) fn merge(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for (key, node) in above {
                    match below.get_mut(&key) {
                        Some(present) => present.merge(node),
                        None => {
                            below.insert(key, node);
                        }
                    }
                }
            }
            (_, value) => *self = Node::new(value, over.origin),
        }
    }

    /// Every secret in the tree, with its key and its node.
    pub(crate) fn secrets<'a>(&'a self, key: &str, found: &mut Vec<(String, &'a Node, &'a Leaf)>) {
        match &self.value {
            Value::Secret(leaf) => found.push((key.to_owned(), self, leaf)),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.secrets(&format!("{key}[{index}]"), found);
                }
            }
            Value::Table(entries) => {
                for (name, node) in entries {
                    node.secrets(&join(key, name), found);
                }
            }
            _ => {}
        }
    }

    /// Whether someone set this: a value, or a table with one below.
    pub(crate) fn is_set(&self) -> bool {
        match &self.value {
            Value::Table(entries) => entries.values().any(Node::is_set),
            _ => true,
        }
    }
}

/// What of `key` lies below the entry `name`: nothing where it is the entry itself, or an item of the list there.
fn rest<'a>(key: &'a str, name: &str, node: &Node) -> Option<&'a str> {
    let rest = key.strip_prefix(name)?;
    let ends = rest.is_empty() || rest.starts_with('[');
    let item = matches!(node.value, Value::List(_)) && rest.starts_with('.');
    match ends || item {
        true => Some(""),
        false => rest.strip_prefix('.'),
    }
}
