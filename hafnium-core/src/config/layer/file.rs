//! A TOML file, with the line of every key.

use std::io;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::tree::{Node, Value};
use super::Layer;

/// Reads the file at `path`; `shown` is how reports name it. A file that is not there is an empty layer.
pub(crate) fn read(path: &Path, shown: &Path) -> Layer {
    let mut layer = Layer::empty();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, shown, &mut layer),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let reason = format!("the file can't be read: {}", error.kind());
            let name = shown.display().to_string();
            layer
                .problems
                .push(Problem::of(ProblemKind::Source, name, reason));
        }
    }
    layer
}

pub(super) fn parse(text: &str, shown: &Path, layer: &mut Layer) {
    let document = Document { text, shown };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Only the message: the parser's own report repeats the line, which may hold a secret.
        let origin = document.origin(error.span().unwrap_or_default());
        let problem = Problem::of(ProblemKind::Source, origin.to_string(), error.message());
        layer.problems.push(problem.at(origin));
    }
    if errors.is_empty() {
        let tree = document.table(table.get_ref(), Origin::Default);
        layer.tree.merge(tree);
    }
}

struct Document<'a> {
    text: &'a str,
    shown: &'a Path,
}

impl Document<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.as_bytes().iter().take(span.start);
        Origin::File {
            path: self.shown.to_owned(),
            line: before.filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>, origin: Origin) -> Node {
        let entries = table.iter().map(|(key, value)| {
            let origin = self.origin(key.span());
            (key.get_ref().to_string(), self.value(value.get_ref(), origin))
        });
        Node::new(Value::Table(entries.collect()), origin)
    }

    fn value(&self, value: &DeValue<'_>, origin: Origin) -> Node {
        let value = match value {
            DeValue::Table(table) => return self.table(table, origin),
            DeValue::Array(items) => {
                let items = items.iter();
                let items = items.map(|item| self.value(item.get_ref(), self.origin(item.span())));
                Value::List(items.collect())
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::String(number.to_string()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::String(number.to_string()),
            },
            DeValue::Datetime(time) => Value::String(time.to_string()),
        };
        Node::new(value, origin)
    }
}
