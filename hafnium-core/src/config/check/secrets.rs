//! Secrets: literals and references, resolved without their values in any report. What is kept elsewhere is fetched
//! later.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use super::super::catalogue::Shape;
use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::show;
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::Checker;
use crate::secret::{Form, LOGIN, Leaf, Material, Reference, Rule, Secret, Slots, Source, read_file};

/// What resolving secrets needs to know.
pub(crate) struct Secrets<'a> {
    pub(crate) sources: &'a Sources,
    /// Whether a literal may stand in a configuration file or on the command line: only in `dev`.
    pub(crate) literals: bool,
    /// The secrets of earlier loads.
    pub(crate) slots: &'a Slots,
}

impl Secrets<'_> {
    fn resolve(&self, text: &str, origin: &Origin, rule: &Rule) -> Result<Secret, String> {
        match Reference::parse(text) {
            Reference::Literal => self.literal(text, origin, rule),
            Reference::Variable(name) => match self.sources.get(name).map(|value| value.to_str()) {
                Some(Some(value)) => self.hold(Source::Variable(name.to_owned()), value.into(), rule, None),
                Some(None) => Err(format!("the variable {name:?} it refers to is not UTF-8 text")),
                None => Err(format!("the variable {name:?} it refers to is not set")),
            },
            Reference::File(path) => match read_file(path.as_ref()) {
                Ok(value) => self.hold(
                    Source::File(PathBuf::from(path)),
                    value,
                    rule,
                    changed(path.as_ref()),
                ),
                Err(reason) => Err(format!("secret file {path:?}: {reason}")),
            },
            Reference::Remote(address) => Ok(self.slots.resolve(Source::Remote(address), rule.form, None)),
            Reference::Refused(reason) => Err(reason),
        }
    }

    fn literal(&self, text: &str, origin: &Origin, rule: &Rule) -> Result<Secret, String> {
        let (source, changed) = match origin {
            Origin::Set if !self.literals => {
                return Err(
                    "a secret's value stands on the command line, which every process of the host may read; outside \
                     dev only a reference may"
                        .to_owned(),
                );
            }
            Origin::File { .. } if !self.literals => {
                return Err(
                    "a secret's value stands in a configuration file; outside dev only a reference may"
                        .to_owned(),
                );
            }
            Origin::Variable(name) => (Source::Variable(name.clone()), None),
            Origin::Variables(names) => (Source::Variable(names.join(", ")), None),
            // A file of the mounted tree holds this one value, as a mounted Secret does.
            Origin::Tree(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let changed = changed(&path);
                (Source::File(path), changed)
            }
            _ => (Source::Literal, None),
        };
        self.hold(source, text.into(), rule, changed)
    }

    fn hold(
        &self,
        source: Source,
        value: SecretString,
        rule: &Rule,
        changed: Option<SystemTime>,
    ) -> Result<Secret, String> {
        let explain = |reason| match &source {
            Source::Literal => reason,
            source => format!("{reason} (read from {source})"),
        };
        let value = rule.form.read(Material::Text(value), None, changed);
        let value = value.map_err(explain)?;
        Ok(self.slots.resolve(source, rule.form, Some(value)))
    }
}

/// When a file was last written.
fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

impl Checker<'_> {
    pub(super) fn secret(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        let mut text = match &mut node.value {
            Value::Text(text) | Value::String(text) => std::mem::take(text),
            Value::Secret(_) => return,
            _ => {
                let problem = Problem::of(ProblemKind::Type, key, "wrong type")
                    .at(node.origin.clone())
                    .found(show::kind(node))
                    .accepted(show::accepted(shape));
                self.problems.push(problem);
                return;
            }
        };
        let rule = rule(shape);
        let resolved = self.secrets.resolve(&text, &node.origin, &rule);
        text.zeroize();
        let problem = match resolved {
            Ok(secret) => {
                let value = secret.current();
                let rejected = (!secret.is_pending()).then(|| rule.reject(&value)).flatten();
                let rejected = rejected.map(|reason| {
                    let reason = match secret.source() {
                        Source::Literal => reason,
                        source => format!("{reason} (read from {source})"),
                    };
                    Problem::of(ProblemKind::Value, key, reason)
                });
                node.value = Value::Secret(Leaf { secret, rule });
                rejected
            }
            Err(reason) => Some(Problem::of(ProblemKind::Secret, key, reason)),
        };
        if let Some(problem) = problem {
            let problem = problem.at(node.origin.clone()).accepted(show::accepted(shape));
            self.problems.push(problem);
        }
    }
}

/// What a key wants of its secret.
fn rule(shape: Shape<'_>) -> Rule {
    let schemes = match show::schemes(shape) {
        Some(schemes) => Some(schemes.into_iter().map(str::to_owned).collect()),
        None => (shape.format() == Some("uri")).then(Vec::new),
    };
    let form = match shape.keyword(LOGIN) {
        Some(_) => Form::Login,
        None => Form::Text,
    };
    Rule { form, schemes }
}
