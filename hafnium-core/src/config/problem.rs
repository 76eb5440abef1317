//! What is wrong with a configuration, all of it at once.

use std::fmt;

use super::origin::Origin;

/// The kind of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// No such key is declared.
    Unknown {
        /// The whole name of the declared key that is spelled most alike, if one is near.
        nearest: Option<String>,
    },
    /// The key has no default and nobody set it.
    Missing,
    /// The value is of another type, such as a number where a table belongs.
    Type,
    /// The type is right and the value is not: a unit, a URL, a range, a name.
    Value,
    /// A secret could not be had, or stands where it may not stand.
    Secret,
    /// Two origins contradict each other.
    Conflict,
    /// Nobody said which environment this is.
    Environment,
    /// A file, a variable or an argument could not be read.
    Source,
    /// The program declared its configuration wrongly, or asked for what it did not declare.
    Declaration,
    /// A check over several keys failed.
    Check,
}

/// One thing that is wrong, with the key, its origin and what is accepted. Holds no value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    key: String,
    origin: Option<Origin>,
    reason: String,
    found: Option<String>,
    accepted: Option<String>,
    /// Whether all that is wrong is that a secret is not where its reference says.
    absent: bool,
}

impl Problem {
    /// A problem found by a check of one's own (see [`Loader::check`](super::Loader::check)); the reason says what is
    /// wrong and how to put it right, without values of secrets.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(ProblemKind::Check, key, reason)
    }

    pub(super) fn of(kind: ProblemKind, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.into(),
            origin: None,
            reason: reason.into(),
            found: None,
            accepted: None,
            absent: false,
        }
    }

    /// Says that a secret is not where its reference says: who needs it not may do without.
    pub(super) fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    pub(super) fn is_absent(&self) -> bool {
        self.absent
    }

    /// Says where the value came from.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Says what was found. Never a value of a secret.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    pub(super) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }

    /// The whole key, such as `postgres.ledger.url`; the name of the origin where no key could be read.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the value came from; none for a key that nobody set.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match &self.origin {
            // Without a key the origin already stands in its place.
            Some(origin) if origin.to_string() != self.key => write!(f, " ({origin})")?,
            _ => {}
        }
        write!(f, ": {}", self.reason)?;
        if let Some(found) = &self.found {
            write!(f, "; found {found}")?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "; accepted: {accepted}")?;
        }
        Ok(())
    }
}

/// Why a configuration was refused: every problem, in the order of their keys. Exit code 78.
///
/// `Display` is a report for people: a first line that says how many problems there are, then one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    service: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(service: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems.dedup();
        Self {
            service: service.to_owned(),
            problems,
        }
    }

    /// Every problem, in the order of their keys; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The first line of the report, for where only one line has room.
    pub fn summary(&self) -> String {
        match self.problems.as_slice() {
            [only] => format!("{}: configuration is invalid: {only}", self.service),
            problems => format!(
                "{}: configuration is invalid: {} problems, the first: {}",
                self.service,
                problems.len(),
                problems.first().map(ToString::to_string).unwrap_or_default()
            ),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = match self.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        write!(f, "{}: configuration is invalid, {problems}:", self.service)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
