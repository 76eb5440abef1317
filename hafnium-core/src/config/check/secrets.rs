//! Secrets: literals and references, resolved once, reported without their values.

use std::path::PathBuf;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use super::super::catalogue::Shape;
use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::show;
use super::super::sources::Sources;
use super::super::tree::{Node, Value};
use super::Checker;
use super::scalar::reject_url;
use crate::secret::{Reference, Secret, Source, read_file};

/// What resolving secrets needs to know.
pub(crate) struct Secrets<'a> {
    pub(crate) sources: &'a Sources,
    /// Whether a literal may stand in a configuration file: only in `dev`.
    pub(crate) literals_in_files: bool,
}

impl Secrets<'_> {
    fn resolve(&self, text: &str, origin: &Origin) -> Result<Secret, String> {
        match Reference::parse(text) {
            Reference::Literal => self.literal(text, origin),
            Reference::Variable(name) => match self.sources.get(name).map(|value| value.to_str()) {
                Some(Some(value)) => Ok(Secret::read(
                    SecretString::from(value),
                    Source::Variable(name.to_owned()),
                )),
                Some(None) => Err(format!("the variable {name:?} it refers to is not UTF-8 text")),
                None => Err(format!("the variable {name:?} it refers to is not set")),
            },
            Reference::File(path) => match read_file(path.as_ref()) {
                Ok(value) => Ok(Secret::read(value, Source::File(PathBuf::from(path)))),
                Err(reason) => Err(format!("secret file {path:?}: {reason}")),
            },
            Reference::Unsupported(scheme) => Err(format!(
                "a reference that begins with `{scheme}`, for which this build has no source"
            )),
        }
    }

    fn literal(&self, text: &str, origin: &Origin) -> Result<Secret, String> {
        let source = match origin {
            Origin::File { .. } if !self.literals_in_files => {
                return Err(
                    "a secret's value stands in a configuration file; outside dev only a reference may"
                        .to_owned(),
                );
            }
            Origin::Variable(name) => Source::Variable(name.clone()),
            // A file of the mounted tree holds this one value, as a mounted Secret does.
            Origin::Tree(path) => Source::File(path.clone()),
            _ => Source::Literal,
        };
        Ok(Secret::read(SecretString::from(text), source))
    }
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
        let resolved = self.secrets.resolve(&text, &node.origin);
        text.zeroize();
        let problem = match resolved {
            Ok(secret) => {
                let rejected = reject_url(secret.expose(), shape).map(|reason| {
                    let source = secret.source();
                    let reason = match source {
                        Source::Literal => reason,
                        source => format!("{reason} (read from {source})"),
                    };
                    Problem::of(ProblemKind::Value, key, reason)
                });
                node.value = Value::Secret(secret);
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
