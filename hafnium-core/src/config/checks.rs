//! The checks over several keys, and what every problem that they find is told with.

use super::catalogue::Shape;
use super::effective::Config;
use super::origin::Origin;
use super::problem::{ConfigError, Problem};
use super::tree::Node;
use super::{place, ports, show};

/// What can be repeated of a wrong value: no text that is free, which may hold anything.
const SHOWN: [&str; 7] = ["duration", "byte-size", "ratio", "network", "ip", "ipv4", "ipv6"];

impl Config {
    /// What the checks find; each problem with the origin of its key.
    pub(super) fn checked(&self) -> Vec<Problem> {
        let own = self.inner().checks.iter().flat_map(|check| check(self));
        let found = ports::check(self)
            .into_iter()
            .chain(place::check(self))
            .chain(own);
        found.map(|problem| self.located(problem)).collect()
    }

    /// Why this configuration can't be used after all, for what can be looked at only after
    /// [`Loader::load`](super::Loader::load), such as certificates. Each problem is given the origin of its key.
    pub fn refused(&self, problems: Vec<Problem>) -> ConfigError {
        let problems = problems.into_iter().map(|problem| self.located(problem));
        self.error(problems.collect())
    }

    /// The problem with the origin of its key, where somebody set that and the check said none, and with what was found
    /// there, where that can be no secret.
    fn located(&self, problem: Problem) -> Problem {
        if problem.origin().is_some() {
            return problem;
        }
        let node = self.inner().tree.find(problem.key());
        let Some(node) = node.filter(|node| node.is_set() && node.origin != Origin::Default) else {
            return problem;
        };
        let path: Vec<_> = problem.key().split('.').map(str::to_owned).collect();
        let shape = self.inner().catalogue.at(&path);
        let problem = problem.at(node.origin.clone());
        match shape.and_then(|shape| shown(node, shape.plain())) {
            Some(found) => problem.found(found),
            None => problem,
        }
    }
}

fn shown(node: &Node, shape: Shape<'_>) -> Option<String> {
    let free = match shape.format() {
        Some(format) if SHOWN.contains(&format) => false,
        _ => shape.types().contains(&"string") || shape.types().is_empty(),
    };
    let scalar = !shape
        .types()
        .iter()
        .any(|kind| ["object", "array"].contains(kind));
    (!free && scalar).then(|| show::found(node, shape))
}
