//! A configuration that was loaded.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::catalogue::Catalogue;
use super::check::join;
use super::de;
use super::declaration::Declared;
use super::entry::{self, Entry};
use super::environment::{Basis, Environment, Platform};
use super::fingerprint::Fingerprint;
use super::origin::Origin;
use super::place::Place;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::section::Section;
use super::tree::{Node, Value};

/// A configuration that was loaded and checked. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) service: String,
    pub(crate) tree: Node,
    pub(crate) catalogue: Catalogue,
    pub(crate) declared: Vec<Declared>,
    pub(crate) settings: Option<TypeId>,
    pub(crate) environment: Environment,
    pub(crate) basis: Basis,
    pub(crate) platform: Option<Platform>,
    /// What the files held that it was read from; none where there were none to read.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What is wrong with it; empty for a configuration that a caller gets.
    pub(crate) problems: Vec<Problem>,
    /// Whether a key's secret is fetched at all: commands that need a part of the service do without the others.
    pub(crate) needs: Option<Vec<String>>,
    /// What is checked again once every secret is there.
    pub(crate) checks: Vec<Check>,
}

/// A check over several keys.
pub(crate) type Check = Arc<dyn Fn(&Config) -> Vec<Problem> + Send + Sync>;

impl Config {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Nothing declared and nothing set, in environment `dev`: what a context without a service around it holds.
    pub fn empty(service: impl Into<String>) -> Self {
        Self::new(Inner {
            service: service.into(),
            tree: Node::table(Origin::Default),
            catalogue: Catalogue::new(std::iter::empty()),
            declared: Vec::new(),
            settings: None,
            environment: Environment::Dev,
            basis: Basis::Undeployed,
            platform: None,
            fingerprint: None,
            problems: Vec::new(),
            needs: None,
            checks: Vec::new(),
        })
    }

    /// The settings of a section that was declared as one.
    pub fn get<S: Section>(&self) -> Result<S::Settings, ConfigError> {
        self.read(&[S::KEY])
    }

    /// As [`Config::get`], also while secrets of the section are still to be fetched: their handles hold an empty value
    /// until then. For what must be up before anything is fetched, and bears that.
    pub fn early<S: Section>(&self) -> Result<S::Settings, ConfigError> {
        let (key, node) = self.sound(&[S::KEY])?;
        de::from_node(node).map_err(|error| self.error(vec![refusal(&key, node, error)]))
    }

    /// Whether secrets that are needed are still to be fetched.
    pub fn awaits_secrets(&self) -> bool {
        !self.pending().is_empty()
    }

    /// The settings of one named instance of a section.
    pub fn named<S: Section>(&self, name: &str) -> Result<S::Settings, ConfigError> {
        self.read(&[S::KEY, name])
    }

    /// The team's own settings, as the type they were declared with.
    pub fn settings<T: DeserializeOwned + 'static>(&self) -> Result<T, ConfigError> {
        if self
            .inner
            .settings
            .is_some_and(|declared| declared != TypeId::of::<T>())
        {
            let reason = format!("declared as another type than {}", std::any::type_name::<T>());
            let problem = Problem::of(ProblemKind::Declaration, "settings", reason);
            return Err(self.error(vec![problem]));
        }
        self.read(&["settings"])
    }

    /// The environment this process runs in.
    pub fn environment(&self) -> Environment {
        self.inner.environment
    }

    /// Why the environment is what it is: said by someone, or taken.
    pub fn environment_basis(&self) -> &Basis {
        &self.inner.basis
    }

    /// What deployed this process; none on a developer's machine or in a bare container.
    pub fn deployed(&self) -> Option<Platform> {
        self.inner.platform
    }

    /// Where this process stands: region, zone, cell, role.
    pub fn place(&self) -> Place {
        // The tree was checked against the schema of these keys, all of which have a default.
        let place: Place = de::from_node(&self.inner.tree).unwrap_or_default();
        place.without_blanks()
    }

    /// How private the data is that the service handles, where somebody said so.
    pub fn privacy_tier(&self) -> Option<String> {
        let tier = self.entry("privacy_tier")?.value;
        (!tier.is_empty()).then_some(tier)
    }

    /// What tells the telemetry of this process from that of others, by the names of the OpenTelemetry conventions where
    /// they have one: `deployment.environment.name`, `cloud.region`, `cloud.availability_zone`, `hafnium.cell`,
    /// `hafnium.role`, `hafnium.privacy_tier`.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let place = self.place();
        let named = [
            (
                "deployment.environment.name",
                Some(self.environment().to_string()),
            ),
            ("cloud.region", place.region),
            ("cloud.availability_zone", place.zone),
            ("hafnium.cell", place.cell),
            ("hafnium.role", Some(place.role.as_str().to_owned())),
            ("hafnium.privacy_tier", self.privacy_tier()),
        ];
        let set = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        set.collect()
    }

    /// Every effective value and where it came from, in the order of the keys. Secrets show as `***`.
    ///
    /// A default is listed where its type can be serialised; the schema carries no other.
    pub fn entries(&self) -> Vec<Entry> {
        entry::list(&self.inner.tree, self.inner.catalogue.root())
    }

    /// One effective value, as [`Config::entries`] lists it.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.entries().into_iter().find(|entry| entry.key == key)
    }

    /// Whether someone set this key, or a key below it; a default is not set.
    pub fn is_set(&self, key: &str) -> bool {
        self.node(key).is_some_and(Node::is_set)
    }

    /// Where the value of this key came from; none when nobody set it.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.node(key)
            .filter(|node| node.is_set())
            .map(|node| &node.origin)
    }

    fn node(&self, key: &str) -> Option<&Node> {
        self.inner.tree.at(&key.split('.').collect::<Vec<_>>())
    }

    fn read<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ConfigError> {
        let (key, node) = self.sound(path)?;
        let pending = super::pending::problems(&key, node);
        if !pending.is_empty() {
            return Err(self.error(pending));
        }
        de::from_node(node).map_err(|error| self.error(vec![refusal(&key, node, error)]))
    }

    /// What stands at a declared path, unless something is wrong with it.
    fn sound(&self, path: &[&str]) -> Result<(String, &Node), ConfigError> {
        let key = path.join(".");
        let declared = self.inner.declared.iter().any(|declared| declared.path == path);
        let node = self.inner.tree.at(path).filter(|_| declared);
        let Some(node) = node else {
            return Err(self.error(vec![self.undeclared(path)]));
        };
        let known = self
            .inner
            .problems
            .iter()
            .filter(|problem| is_below(problem.key(), &key));
        let known: Vec<_> = known.cloned().collect();
        if !known.is_empty() {
            return Err(self.error(known));
        }
        Ok((key, node))
    }

    fn undeclared(&self, path: &[&str]) -> Problem {
        let siblings = self
            .inner
            .declared
            .iter()
            .filter(|declared| declared.path.first().is_some_and(|key| key == path[0]));
        let siblings: Vec<_> = siblings.map(|declared| declared.path.join(".")).collect();
        let problem = Problem::of(
            ProblemKind::Declaration,
            path.join("."),
            "asked for, but the service never declared it",
        );
        match siblings.is_empty() {
            true => problem,
            false => problem.accepted(siblings.join(", ")),
        }
    }

    pub(super) fn error(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::new(&self.inner.service, problems)
    }
}

impl fmt::Debug for Config {
    /// No values: some may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("service", &self.inner.service)
            .field("environment", &self.inner.environment)
            .finish_non_exhaustive()
    }
}

/// Whether `key` is `parent` or lies below it.
pub(crate) fn is_below(key: &str, parent: &str) -> bool {
    match key.strip_prefix(parent) {
        Some(rest) => rest.is_empty() || rest.starts_with(['.', '[']),
        None => false,
    }
}

/// What a type refused that its schema accepted, as a problem. Secrets are cut out of the type's own words.
pub(crate) fn refusal(key: &str, node: &Node, error: de::Error) -> Problem {
    let mut secrets = Vec::new();
    node.secrets(key, &mut secrets);
    let mut message = error.message;
    for (_, _, leaf) in secrets {
        let value = leaf.secret.current();
        if !value.expose().is_empty() {
            message = message.replace(value.expose(), "***");
            // serde quotes text with its escapes.
            message = message.replace(&value.expose().escape_debug().to_string(), "***");
        }
    }
    let mut key = key.to_owned();
    let mut origin = None;
    let mut deepest = Some(node);
    for part in &error.path {
        let items = match deepest.map(|node| &node.value) {
            Some(Value::List(items)) => Some(items),
            _ => None,
        };
        key = match items {
            Some(_) => format!("{key}[{part}]"),
            None => join(&key, part),
        };
        deepest = match items {
            Some(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            None => deepest.and_then(|node| node.at(&[part])),
        };
        if let Some(node) = deepest {
            origin = Some(node.origin.clone());
        }
    }
    let problem = Problem::of(ProblemKind::Value, key, message);
    match origin {
        Some(origin) if origin != Origin::Default => problem.at(origin),
        _ => problem,
    }
}
