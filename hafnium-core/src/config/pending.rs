//! Secrets that are kept elsewhere: known when a configuration is loaded, fetched afterwards.

use super::effective::{Config, is_below};
use super::origin::Origin;
use super::partial;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::tree::Node;
use crate::secret::Leaf;

/// One secret of a configuration.
pub(crate) struct SecretKey<'a> {
    pub(crate) key: String,
    pub(crate) origin: &'a Origin,
    pub(crate) leaf: &'a Leaf,
}

impl Config {
    /// Every secret, in the order of the keys.
    pub(crate) fn secrets(&self) -> Vec<SecretKey<'_>> {
        let mut found = Vec::new();
        self.inner().tree.secrets("", &mut found);
        let secrets = found.into_iter().map(|(key, node, leaf)| SecretKey {
            key,
            origin: &node.origin,
            leaf,
        });
        secrets.collect()
    }

    /// The secrets that are still to be fetched, of the part that is needed.
    pub(crate) fn pending(&self) -> Vec<SecretKey<'_>> {
        let mut secrets = self.secrets();
        secrets.retain(|one| one.leaf.secret.is_pending() && self.needs_key(&one.key));
        secrets
    }

    fn needs_key(&self, key: &str) -> bool {
        match &self.inner().needs {
            Some(needs) => needs.iter().any(|needed| is_below(key, needed)),
            None => true,
        }
    }

    /// What was left out of the load because values were still to be fetched: the types' own checks and those over
    /// several keys.
    pub(crate) fn verify(&self) -> Result<(), ConfigError> {
        let inner = self.inner();
        let mut problems = Vec::new();
        for declared in &inner.declared {
            let key = declared.path.join(".");
            let Some(node) = inner.tree.at(&declared.path) else {
                continue;
            };
            let pending = self::problems(&key, node);
            let known = inner.problems.iter().chain(&pending);
            problems.extend(partial::refusals(&key, node, declared.read, known));
        }
        problems.extend(self.checked());
        match problems.is_empty() {
            true => Ok(()),
            false => Err(self.error(problems)),
        }
    }

    /// A refusal because of the secrets at these keys, each with its reason.
    pub(crate) fn refuse(&self, reasons: Vec<(String, String)>) -> ConfigError {
        let secrets = self.secrets();
        let problems = reasons.into_iter().map(|(key, reason)| {
            let secret = secrets.iter().find(|one| one.key == key);
            let problem = Problem::of(ProblemKind::Secret, key, reason);
            match secret {
                Some(secret) => problem.at(secret.origin.clone()),
                None => problem,
            }
        });
        self.error(problems.collect())
    }
}

/// A problem for each secret below `node` that is still to be fetched: settings that hold one are not given out.
pub(super) fn problems(key: &str, node: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    node.secrets(key, &mut found);
    let pending = found.into_iter().filter(|(_, _, leaf)| leaf.secret.is_pending());
    let problems = pending.map(|(key, node, leaf)| {
        let reason = format!("{} was not fetched yet", leaf.secret.source());
        Problem::of(ProblemKind::Secret, key, reason).at(node.origin.clone())
    });
    problems.collect()
}
