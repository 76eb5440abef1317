//! What a service declares, and the loading of it.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::catalogue::Catalogue;
use super::check::{Checker, Secrets};
use super::declaration::{self, Declared};
use super::effective::{Check, Config, Inner, is_below};
use super::environment::{Basis, Environment, Platform};
use super::fingerprint::{self, Fingerprint};
use super::layer::aliases::Binding;
use super::layer::composed::Composition;
use super::layer::stack::{Inputs, Stack};
use super::origin::Origin;
use super::partial;
use super::pending;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference::Reference;
use super::section::Section;
use super::sources::Sources;
use super::tree::Node;
use crate::secret::Slots;

/// Declares what a service can be told, and loads it.
///
/// Nothing is read before [`Loader::load`], which may be called more than once. `load` reads files and may block for
/// as long as the file system does; call it before the runtime starts or on a blocking thread.
#[derive(Clone)]
#[must_use]
pub struct Loader {
    service: String,
    declared: Vec<Declared>,
    settings: Option<TypeId>,
    aliases: Vec<(String, Vec<String>)>,
    provided: Vec<(Vec<String>, Node)>,
    set: Vec<String>,
    environment: Option<String>,
    strictness: Strictness,
    needs: Option<Vec<String>>,
    checks: Vec<Check>,
    sources: Option<Sources>,
    slots: Slots,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// Where something deployed us, somebody must say which environment it is.
    Required,
    /// The command works without knowing; the rules of `prod` hold then.
    Optional,
}

impl Loader {
    /// Nothing declared besides the keys of every service (`environment`, `region`, `zone`, `cell`, `role`).
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            declared: Vec::new(),
            settings: None,
            aliases: vec![("ENVIRONMENT".to_owned(), vec!["environment".to_owned()])],
            provided: Vec::new(),
            set: Vec::new(),
            environment: None,
            strictness: Strictness::Required,
            needs: None,
            checks: Vec::new(),
            sources: None,
            slots: Slots::default(),
        }
    }

    /// Declares the one instance of a section, at `<key>`.
    pub fn section<S: Section>(mut self) -> Self {
        let path = vec![S::KEY.to_owned()];
        self.declared
            .push(Declared::new::<S::Settings>(path, S::aliases(), S::composed()));
        self
    }

    /// Declares one named instance of a section, at `<key>.<name>`; call it once for each name.
    ///
    /// Names are words of `a-z`, `0-9` and `_`, so that a variable can spell them.
    pub fn named<S: Section>(mut self, name: &str) -> Self {
        let path = vec![S::KEY.to_owned(), name.to_owned()];
        self.declared
            .push(Declared::new::<S::Settings>(path, S::aliases(), S::composed()));
        self
    }

    /// Declares the team's own settings, at `settings`.
    pub fn settings<T: DeserializeOwned + JsonSchema + 'static>(mut self) -> Self {
        self.settings = Some(TypeId::of::<T>());
        self.declared
            .push(Declared::new::<T>(vec!["settings".to_owned()], &[], &[]));
        self
    }

    /// Lets a variable of another name stand for a key, as a team's existing manifests have it:
    /// `.alias("SECRET_KEY", "settings.secret_key")`.
    pub fn alias(mut self, variable: &str, key: &str) -> Self {
        self.aliases.push((variable.to_owned(), split(key)));
        self
    }

    /// Gives a key a value that anything else overrides; `by` is shown as its origin, such as `dev services`.
    pub fn provide(mut self, key: &str, value: impl Into<String>, by: &'static str) -> Self {
        self.provided
            .push((split(key), Node::text(value, Origin::Provided(by))));
        self
    }

    /// Takes a `--set` argument, `a.b=c`. Of two for one key the later counts.
    pub fn set(mut self, argument: impl Into<String>) -> Self {
        self.set.push(argument.into());
        self
    }

    /// Takes what `--environment` said, if it was given.
    pub fn environment(mut self, name: Option<impl Into<String>>) -> Self {
        self.environment = name.map(Into::into);
        self
    }

    /// Does without an environment also where something deployed us; the rules of `prod` hold then.
    ///
    /// For `migrate`, `healthcheck`, `version` and `config`: an init container often gets nothing but `DATABASE_URL`.
    pub fn environment_optional(mut self) -> Self {
        self.strictness = Strictness::Optional;
        self
    }

    /// Only what lies below these keys must be complete; elsewhere a missing key, and a secret whose variable is not
    /// set or whose file does not exist, is no problem until its section is asked for. Wrong values are problems
    /// everywhere.
    ///
    /// For commands that use a part of the service, and, with no key at all, for a first look at what is set.
    pub fn needs<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.needs = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a check over several keys. It runs with all the others, also when there are problems elsewhere: a section
    /// that has one answers [`Config::get`] with it, and a check passes over that, or looks at what is right by
    /// [`Config::partial`]. A problem without an origin is given that of its key.
    pub fn check(mut self, check: impl Fn(&Config) -> Vec<Problem> + Send + Sync + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Reads elsewhere than in the working directory and the environment of this process.
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        // What was read elsewhere has nothing to do with what is read here.
        self.slots = Slots::default();
        self
    }

    /// The JSON Schema (2020-12) of everything declared.
    pub fn schema(&self) -> serde_json::Value {
        self.catalogue().to_json()
    }

    /// The reference of everything declared, in Markdown: each key with its variables, what is accepted, its default,
    /// whether it changes without a restart, and what it means.
    pub fn reference(&self) -> String {
        let page = Reference {
            service: &self.service,
            catalogue: &self.catalogue(),
            declared: &self.declared,
            aliases: &by_key(&self.bindings(), &self.compositions()),
        };
        page.render()
    }

    fn catalogue(&self) -> Catalogue {
        let declared = self.declared.iter();
        Catalogue::new(declared.map(|declared| (declared.path.as_slice(), declared.schema)))
    }

    /// Reads every layer and checks the whole.
    ///
    /// # Errors
    /// Every problem at once, each with its key and its origin.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let sources = self.present_sources();
        // Before anything is read: what changes from here on is found by the next look.
        let fingerprint = fingerprint::of(&sources);
        let catalogue = self.catalogue();
        let bindings = self.bindings();
        let mut problems = declaration::problems(&self.declared);
        let compositions = self.compositions();
        let stack = Stack::read(&self.inputs(&sources, &bindings, &compositions), &catalogue);
        let platform = Platform::detect(&sources);
        let (environment, basis) = self.decide(&stack, platform, &mut problems);
        let (mut tree, unread) = stack.merge(&sources, environment, &basis);
        // Of a file that can't be read nobody knows what it would have set: then nothing counts as missing.
        let whole = unread
            .iter()
            .all(|problem| *problem.kind() != ProblemKind::Source);
        problems.extend(unread);
        for declared in &self.declared {
            if tree.at(&declared.path).is_none() {
                // A clash with a value is found by the check, which expects a table there.
                let _ = tree.insert(&declared.path, Node::table(Origin::Default));
            }
        }
        let mut checker = Checker {
            secrets: &Secrets {
                sources: &sources,
                literals: environment.is_dev(),
                slots: &self.slots,
            },
            aliases: &by_key(&bindings, &compositions),
            problems: Vec::new(),
        };
        checker.check("", &mut tree, catalogue.root());
        let found = checker.problems;
        let tolerable = |problem: &Problem| match problem.kind() {
            ProblemKind::Missing => !(whole && self.is_needed(problem.key())),
            _ => problem.is_absent() && !self.is_needed(problem.key()),
        };
        let (tolerated, mut found): (Vec<_>, Vec<_>) = found.into_iter().partition(tolerable);
        for Declared { path, read, .. } in &self.declared {
            let key = path.join(".");
            let Some(node) = tree.at(path) else { continue };
            // What holds a secret that is still to be fetched is read once it is there.
            let pending = pending::problems(&key, node);
            let known = problems.iter().chain(&tolerated).chain(&found).chain(&pending);
            let refused = partial::refusals(&key, node, *read, known);
            found.extend(refused);
        }
        problems.extend(found);
        let config = Config::new(Inner {
            service: self.service.clone(),
            tree,
            catalogue,
            declared: self.declared.clone(),
            settings: self.settings,
            environment,
            basis,
            platform,
            fingerprint: Some(fingerprint),
            problems: [problems.clone(), tolerated].concat(),
            needs: self.needs.clone(),
            checks: self.checks.clone(),
        });
        problems.extend(config.checked());
        match problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigError::new(&self.service, problems)),
        }
    }

    fn present_sources(&self) -> Sources {
        match &self.sources {
            Some(sources) => sources.clone(),
            None => Sources::process(),
        }
    }

    /// What the files hold that [`Loader::load`] reads. Blocks as it does.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint::of(&self.present_sources())
    }

    fn inputs<'a>(
        &'a self,
        sources: &'a Sources,
        bindings: &'a [Binding],
        compositions: &'a [Composition],
    ) -> Inputs<'a> {
        Inputs {
            sources,
            bindings,
            compositions,
            provided: &self.provided,
            set: &self.set,
            environment: self.environment.as_deref(),
        }
    }

    /// Which environment this is. A name that no environment has is left to the check of the schema.
    fn decide(
        &self,
        stack: &Stack,
        platform: Option<Platform>,
        problems: &mut Vec<Problem>,
    ) -> (Environment, Basis) {
        if let Some((name, origin)) = stack.environment() {
            return (
                name.parse().unwrap_or(Environment::Dev),
                Basis::Configured(origin),
            );
        }
        let Some(platform) = platform else {
            return (Environment::Dev, Basis::Undeployed);
        };
        if self.strictness == Strictness::Required {
            let reason = format!(
                "missing: {} shows that something deployed this process, so it is not taken for dev; \
                 set ENVIRONMENT or --environment",
                platform.marker()
            );
            let problem = Problem::of(ProblemKind::Environment, "environment", reason);
            problems.push(problem.accepted("dev, staging, prod or dr"));
        }
        (Environment::Prod, Basis::Strict)
    }

    /// Which variables stand for which keys. Instances of one section compete for theirs.
    fn bindings(&self) -> Vec<Binding> {
        let mut sections: BTreeMap<(&str, &str, &str), Vec<Vec<String>>> = BTreeMap::new();
        for declared in &self.declared {
            let section = declared.path.first().map_or("", String::as_str);
            for alias in declared.aliases {
                let key = [declared.path.clone(), split(alias.key)].concat();
                let keys = sections.entry((section, alias.variable, alias.key)).or_default();
                keys.push(key);
            }
        }
        let own = self
            .aliases
            .iter()
            .map(|(variable, key)| (variable.as_str(), vec![key.clone()]));
        let sections = sections
            .into_iter()
            .map(|((_, variable, _), keys)| (variable, keys));
        let bindings = own.chain(sections).map(|(variable, keys)| Binding {
            variable: variable.to_owned(),
            keys,
        });
        bindings.collect()
    }

    /// Which variables make the value of which keys together. Instances of one section compete here as well.
    fn compositions(&self) -> Vec<Composition> {
        let mut compositions: Vec<Composition> = Vec::new();
        for declared in &self.declared {
            for composed in declared.composed {
                let key = [declared.path.clone(), split(composed.key)].concat();
                let known = compositions.iter_mut().find(|known| {
                    known.composed.variables == composed.variables
                        && known.keys.iter().any(|other| other.first() == key.first())
                });
                match known {
                    Some(known) => known.keys.push(key),
                    None => compositions.push(Composition {
                        composed: *composed,
                        keys: vec![key],
                    }),
                }
            }
        }
        compositions
    }

    fn is_needed(&self, key: &str) -> bool {
        match &self.needs {
            Some(needs) => needs.iter().any(|needed| is_below(key, needed)),
            None => true,
        }
    }
}

/// The variables that alone stand for a key, by key.
fn by_key(bindings: &[Binding], compositions: &[Composition]) -> BTreeMap<String, Vec<String>> {
    let mut variables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in bindings {
        if let [key] = binding.keys.as_slice() {
            let names = variables.entry(key.join(".")).or_default();
            names.push(binding.variable.clone());
        }
    }
    for Composition { composed, keys } in compositions {
        if let [key] = keys.as_slice() {
            let names = variables.entry(key.join(".")).or_default();
            names.extend(composed.variables.first().map(|name| (*name).to_owned()));
        }
    }
    variables
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

impl fmt::Debug for Loader {
    /// What is declared; no values, some may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let declared = self.declared.iter().map(|declared| declared.path.join("."));
        f.debug_struct("Loader")
            .field("service", &self.service)
            .field("declared", &declared.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
