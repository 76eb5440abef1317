//! The merged tree against the schemas: finds every problem, gives text the type of its key, resolves secrets.

mod scalar;
mod secrets;

use std::collections::BTreeMap;

use super::catalogue::Shape;
use super::layer::variable_name;
use super::origin::Origin;
use super::problem::{Problem, ProblemKind};
use super::show;
use super::tree::{Node, Value};

pub(crate) use secrets::Secrets;

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.6;

/// One walk over a tree.
pub(crate) struct Checker<'a> {
    pub(crate) secrets: &'a Secrets<'a>,
    /// The well-known variables that answer for a key.
    pub(crate) aliases: &'a BTreeMap<String, Vec<String>>,
    pub(crate) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Checks `node`, which stands at `key`, and gives it its final form.
    pub(crate) fn check(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        let shape = shape.plain();
        if shape.is_secret() {
            self.secret(key, node, shape);
        } else if let Some(names) = shape.names() {
            self.name(key, node, shape, &names);
        } else if !shape.alternatives().is_empty() && shape.keyword("properties").is_none() {
            self.choose(key, node, shape);
        } else if shape.is_table() {
            self.table(key, node, shape);
        } else if shape.types().contains(&"array") {
            self.list(key, node, shape);
        } else if shape.types().is_empty() {
            settle(node);
        } else {
            self.scalar(key, node, shape);
        }
    }

    fn table(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        let Value::Table(entries) = &mut node.value else {
            self.mismatch(ProblemKind::Type, key, node, shape);
            return;
        };
        let properties = shape.properties();
        for (name, property) in &properties {
            if entries.contains_key(*name) || !shape.requires(name) {
                continue;
            }
            if !property.plain().properties().is_empty() {
                // Its own required keys are what is really missing; without any, the empty table will do.
                entries.insert((*name).to_owned(), Node::table(Origin::Default));
            } else {
                self.missing(&join(key, name), &node.origin, *property);
            }
        }
        let additional = shape.additional();
        for (name, below) in entries {
            let path = join(key, name);
            let declared = properties.iter().find(|(known, _)| known == name);
            match declared.map(|(_, property)| *property).or(additional) {
                Some(property) => self.check(&path, below, property),
                None => self.unknown(key, name, below, &properties),
            }
        }
    }

    fn unknown(&mut self, key: &str, name: &str, node: &Node, properties: &[(&str, Shape<'_>)]) {
        let nearest = nearest(name, properties.iter().map(|(known, _)| *known));
        let reason = match (nearest, key) {
            (Some(nearest), _) => format!("unknown key; did you mean `{}`?", join(key, nearest)),
            (None, "") if name == "settings" => "unknown key; this service declares no settings".to_owned(),
            (None, _) => "unknown key".to_owned(),
        };
        let kind = ProblemKind::Unknown {
            nearest: nearest.map(|nearest| join(key, nearest)),
        };
        let known: Vec<_> = properties.iter().map(|(known, _)| *known).collect();
        // What an unknown key holds is never shown: it may be a misspelled secret.
        let mut problem = Problem::of(kind, join(key, name), reason).at(node.origin.clone());
        if !known.is_empty() {
            problem = problem.accepted(known.join(", "));
        }
        self.problems.push(problem);
    }

    fn missing(&mut self, key: &str, table: &Origin, shape: Shape<'_>) {
        let mut variables = vec![variable_name(key)];
        variables.extend(self.aliases.get(key).into_iter().flatten().cloned());
        let reason = format!("missing; set it in hafnium.toml or as {}", variables.join(" or "));
        let mut problem = Problem::of(ProblemKind::Missing, key, reason).accepted(show::accepted(shape));
        // Where a file has the table is where the key belongs; other origins only set its siblings.
        if let Origin::File { .. } = table {
            problem = problem.at(table.clone());
        }
        self.problems.push(problem);
    }

    fn list(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        if let Value::Text(text) = &node.value {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items = items.map(|item| Node::text(item, node.origin.clone())).collect();
            node.value = Value::List(items);
        }
        let Value::List(items) = &mut node.value else {
            self.mismatch(ProblemKind::Type, key, node, shape);
            return;
        };
        let count = items.len() as u64;
        for (index, item) in items.iter_mut().enumerate() {
            match shape.items() {
                Some(below) => self.check(&format!("{key}[{index}]"), item, below),
                None => settle(item),
            }
        }
        let limit = |name: &str| shape.keyword(name).and_then(serde_json::Value::as_u64);
        let reason = match (limit("minItems"), limit("maxItems")) {
            (Some(least), _) if count < least => {
                format!("too few items: {count}, at least {least} are needed")
            }
            (_, Some(most)) if count > most => {
                format!("too many items: {count}, at most {most} are accepted")
            }
            _ => return,
        };
        let problem = Problem::of(ProblemKind::Value, key, reason).at(node.origin.clone());
        self.problems.push(problem);
    }

    /// Takes the first alternative without a problem. Where there is none, the problems are those of the alternative
    /// that a tag of the table names, and otherwise one that says what is accepted.
    fn choose(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        let mut tagged = None;
        let mut absent = None;
        let mut options = shape.alternatives();
        if let Value::Text(_) = node.value {
            // Where text will do it stays text: `007` is no number then.
            options.sort_by_key(|option| !option.types().contains(&"string"));
        }
        for option in options {
            let mut trial = Checker {
                problems: Vec::new(),
                ..*self
            };
            let mut copy = node.clone();
            trial.check(key, &mut copy, option);
            if trial.problems.is_empty() {
                *node = copy;
                return;
            }
            if absent.is_none() && trial.problems.iter().all(Problem::is_absent) {
                absent = Some((copy, trial.problems));
            } else if names_itself(node, option) {
                tagged = Some(trial.problems);
            }
        }
        match (absent, tagged) {
            // Right as far as it is there: whether the rest is needed is not known here.
            (Some((copy, problems)), _) => {
                *node = copy;
                self.problems.extend(problems);
            }
            (None, Some(problems)) => self.problems.extend(problems),
            (None, None) => self.mismatch(ProblemKind::Value, key, node, shape),
        }
    }

    pub(crate) fn mismatch(&mut self, kind: ProblemKind, key: &str, node: &Node, shape: Shape<'_>) {
        let reason = match kind {
            ProblemKind::Type => "wrong type",
            _ => "not accepted",
        };
        let problem = Problem::of(kind, key, reason)
            .at(node.origin.clone())
            .found(show::found(node, shape))
            .accepted(show::accepted(shape));
        self.problems.push(problem);
    }
}

/// Whether a table holds the tag by which `shape` is told from its alternatives.
fn names_itself(node: &Node, shape: Shape<'_>) -> bool {
    let Value::Table(entries) = &node.value else {
        return false;
    };
    shape.properties().into_iter().any(|(name, property)| {
        let tag = property.keyword("const").and_then(serde_json::Value::as_str);
        let held = entries.get(name).map(|node| &node.value);
        match (tag, held) {
            (Some(tag), Some(Value::Text(held) | Value::String(held))) => tag == held,
            // An externally tagged variant is named by its only key.
            (None, Some(_)) => entries.len() == 1 && shape.requires(name),
            _ => false,
        }
    })
}

/// Where any type is accepted, text stays text.
fn settle(node: &mut Node) {
    match &mut node.value {
        Value::Text(text) => node.value = Value::String(std::mem::take(text)),
        Value::List(items) => items.iter_mut().for_each(settle),
        Value::Table(entries) => entries.values_mut().for_each(settle),
        _ => {}
    }
}

/// The name that is spelled most alike, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

pub(crate) fn join(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}
