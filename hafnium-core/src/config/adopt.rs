//! What of a newly read configuration comes into force at once: the reloadable keys, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::Shape;
use super::check::join;
use super::effective::{Config, Inner};
use super::entry;
use super::show;
use super::tree::{Node, Value};
use crate::secret::Source;

/// The schema keyword of a key that may change while the service runs.
pub(crate) const RELOADABLE: &str = "x-reloadable";

/// `held` with the reloadable values of `found`, the keys that changed by it, and those that need a restart.
pub(crate) fn adopt(held: &Config, found: Config) -> (Config, Vec<String>, Vec<String>) {
    if held.environment() != found.environment() {
        // Other files would count then: none of their values may come in beside those of this environment.
        return (held.clone(), Vec::new(), vec!["environment".to_owned()]);
    }
    let mut walk = Walk::default();
    let (old, new) = (held.inner(), found.inner());
    let tree = walk.merge(
        "",
        Some(&old.tree),
        Some(&new.tree),
        Some(new.catalogue.root()),
        false,
    );
    let Some(tree) = tree else {
        return (held.clone(), Vec::new(), Vec::new());
    };
    let config = Config::new(Inner {
        service: new.service.clone(),
        tree,
        catalogue: new.catalogue.clone(),
        declared: new.declared.clone(),
        settings: new.settings,
        environment: new.environment,
        basis: new.basis.clone(),
        platform: new.platform,
        fingerprint: new.fingerprint,
        problems: Vec::new(),
        needs: new.needs.clone(),
        checks: new.checks.clone(),
    });
    (config, walk.adopted, walk.restart)
}

#[derive(Default)]
struct Walk {
    adopted: Vec<String>,
    restart: Vec<String>,
}

impl Walk {
    /// The node that is in force at `key` from now on.
    fn merge(
        &mut self,
        key: &str,
        old: Option<&Node>,
        new: Option<&Node>,
        shape: Option<Shape<'_>>,
        reloadable: bool,
    ) -> Option<Node> {
        let reloadable = reloadable || shape.is_some_and(is_reloadable);
        if let Some((old, new, origin)) = tables(old, new) {
            let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(BTreeMap::keys).collect();
            let below = names.into_iter().filter_map(|name| {
                let [old, new] = [old, new].map(|table| table.and_then(|table| table.get(name)));
                let shape = shape.and_then(|shape| shape.plain().child(name));
                let node = self.merge(&join(key, name), old, new, shape, reloadable)?;
                Some((name.clone(), node))
            });
            let below: BTreeMap<_, _> = below.collect();
            return Some(Node::new(Value::Table(below), origin.origin.clone()));
        }
        if same(old, new, shape) {
            return new.cloned();
        }
        // What a new reference stands for was never fetched: that happens at the start only.
        if reloadable && !is_secret(new) {
            self.adopted.push(key.to_owned());
            new.cloned()
        } else {
            self.restart.push(key.to_owned());
            old.cloned()
        }
    }
}

fn is_secret(node: Option<&Node>) -> bool {
    node.is_some_and(|node| matches!(node.value, Value::Secret(_)))
}

/// Whether the key may change while the service runs.
pub(crate) fn is_reloadable(shape: Shape<'_>) -> bool {
    let says = |shape: Shape<'_>| shape.keyword(RELOADABLE).and_then(serde_json::Value::as_bool);
    says(shape) == Some(true) || says(shape.plain()) == Some(true)
}

type Table = BTreeMap<String, Node>;

/// Both as tables, where at least one is and the other is one or is missing; and the one whose origin counts.
fn tables<'a>(
    old: Option<&'a Node>,
    new: Option<&'a Node>,
) -> Option<(Option<&'a Table>, Option<&'a Table>, &'a Node)> {
    fn table(node: Option<&Node>) -> Result<Option<&Table>, ()> {
        match node.map(|node| &node.value) {
            Some(Value::Table(table)) => Ok(Some(table)),
            Some(_) => Err(()),
            None => Ok(None),
        }
    }
    let (Ok(before), Ok(after)) = (table(old), table(new)) else {
        return None;
    };
    Some((before, after, new.or(old)?))
}

/// Whether both mean the same. What is not set means its default.
fn same(old: Option<&Node>, new: Option<&Node>, shape: Option<Shape<'_>>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => equal(old, new),
        (None, None) => true,
        (Some(node), None) | (None, Some(node)) => {
            let default = shape.and_then(|shape| shape.default().or_else(|| shape.plain().default()));
            default.is_some_and(|default| entry::plain(default) == show::effective(node, shape))
        }
    }
}

fn equal(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Text(one) | Value::String(one), Value::Text(other) | Value::String(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Table(one), Value::Table(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((key, one), (name, other))| key == name && equal(one, other))
        }
        // A secret's new value is the store's to bring; here only where it is kept counts.
        (Value::Secret(one), Value::Secret(other)) => match (one.secret.source(), other.secret.source()) {
            (Source::Literal, Source::Literal) => {
                one.secret.current().expose() == other.secret.current().expose()
            }
            (one, other) => one == other,
        },
        _ => false,
    }
}
