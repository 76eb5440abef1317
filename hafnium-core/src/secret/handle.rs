//! The handle on a secret.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::provider::{FetchError, Material, Version};
use super::rule::Form;
use super::slot::{Slot, Values};
use super::source::Source;
use super::value::Value;
use crate::deadline::{Deadline, DeadlineExceeded};

/// A handle on a secret value, such as a password or a URL that holds one. It never prints; the value is wiped from
/// memory when dropped. Cheap to clone; every clone follows the same value.
///
/// In a configuration it is written as the value itself or as a reference: `env:NAME`, `file:/path`,
/// `aws-sm:name#key`, `aws-ssm:/path`, `vault:mount/path#key`, `vault-db:role`, `vault-static:role`. A value of its own
/// is refused in a configuration *file* outside `dev`. `NAME_FILE` in place of a variable `NAME` names a file that
/// holds the value. One newline at the end of a file is not part of the secret.
///
/// A value that changes where it is kept changes here too, while a [`Secrets`](super::Secrets) store follows it: ask
/// [`Secret::current`] whenever it is needed, never keep what it gave. (A copy that serde made on its way, as it does
/// for types that are `untagged` or `flatten`, follows nothing.)
///
/// ```
/// use hafnium_core::secret::Secret;
///
/// let password = Secret::new("hunter2");
/// assert_eq!(password.current().expose(), "hunter2");
/// assert_eq!(format!("{password:?}"), "Secret(***)");
/// ```
#[derive(Clone)]
pub struct Secret {
    pub(super) slot: Arc<Slot>,
}

impl Secret {
    /// A secret of that value, which never changes.
    pub fn new(value: impl Into<String>) -> Self {
        let value = Value::of_text(value.into().into(), None);
        Self::held(Source::Literal, Form::Text, Some(value))
    }

    /// A user and a password, which never change.
    pub fn of_login(user: impl Into<String>, password: impl Into<String>) -> Self {
        let material = Material::Login {
            user: user.into(),
            password: password.into().into(),
        };
        Self::held(Source::Literal, Form::Login, Some(Value::of(material, None)))
    }

    /// A secret with that value, or with one that is still to be fetched.
    pub(crate) fn held(source: Source, form: Form, value: Option<Value>) -> Self {
        Self {
            slot: Arc::new(Slot::new(source, form, value)),
        }
    }

    /// The value now. Never waits.
    pub fn current(&self) -> Arc<Value> {
        self.slot.current()
    }

    /// The value before the current one, if it changed since the process began: a server may still want it while a
    /// rotation is under way.
    pub fn previous(&self) -> Option<Arc<Value>> {
        self.slot.previous()
    }

    /// Follows the value from now on.
    pub fn watch(&self) -> Watch {
        Watch {
            values: self.slot.subscribe(),
            slot: self.slot.clone(),
        }
    }

    /// Asks the source again, because the current value was refused where it is used, and gives what is current then,
    /// which may be the same. All who ask at once share one question, and a source is asked at most once a second. What
    /// the source was asked before without need, to keep the value up to date, is not taken for an answer.
    ///
    /// A value that nothing follows (a literal, a variable) is given at once.
    ///
    /// Cancel-safe: the question goes on for the others.
    ///
    /// # Errors
    /// [`RefreshError::Late`] when `deadline` came first, [`RefreshError::Source`] when the source gave nothing; the
    /// value in use stays.
    pub async fn refresh(&self, deadline: Deadline) -> Result<Arc<Value>, RefreshError> {
        let Some(keeper) = self.slot.keeper() else {
            return Ok(self.current());
        };
        let mut flights = self.slot.flight.subscribe();
        let mut wanted = 0;
        self.slot.flight.send_modify(|flight| {
            wanted = flight.finished + 1 + u64::from(flight.unforced);
            flight.requested = flight.requested.max(wanted);
        });
        keeper.notify_one();
        let finished = flights.wait_for(|flight| flight.finished >= wanted);
        let error = match deadline.bound("the secret's source", finished).await? {
            Ok(flight) => flight.error.clone(),
            // The sender lives in the slot that `self` holds.
            Err(_) => None,
        };
        match error {
            Some(error) => Err(RefreshError::Source(error)),
            None => Ok(self.current()),
        }
    }

    /// Says that this version was refused where it is used, such as by a login that failed. While the current version
    /// is refused, and its source can't give another, the service is not ready.
    pub fn refused(&self, version: &Version) {
        self.slot.verdict().refused = Some(version.clone());
    }

    /// Says that this version works where it is used.
    pub fn accepted(&self, version: &Version) {
        let mut verdict = self.slot.verdict();
        if verdict.refused.is_some() && self.slot.current().version() == version {
            verdict.refused = None;
        }
    }

    /// Where the value comes from.
    pub fn source(&self) -> &Source {
        &self.slot.source
    }

    /// Whether the first value is still to be fetched.
    pub(crate) fn is_pending(&self) -> bool {
        self.slot.is_pending()
    }
}

impl PartialEq for Secret {
    /// Whether both are handles on the same value, which is more than two values that are alike.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Waits for the changes of one secret.
pub struct Watch {
    values: watch::Receiver<Values>,
    /// Keeps the sender alive.
    slot: Arc<Slot>,
}

impl Watch {
    /// Waits until the value is another than the one last seen here, and gives it. Values that came and went meanwhile
    /// are passed over. Waits for ever for a value that nothing follows.
    ///
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Arc<Value> {
        // The sender lives as long as `slot`, so this can't fail.
        let _ = self.values.changed().await;
        self.values.borrow_and_update().current.clone()
    }

    /// The value now, which counts as seen.
    pub fn current(&mut self) -> Arc<Value> {
        self.values.borrow_and_update().current.clone()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", self.slot.source)
    }
}

/// Why a refresh gave nothing new.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The deadline came first.
    #[error(transparent)]
    Late(#[from] DeadlineExceeded),
    /// The source gave nothing.
    #[error(transparent)]
    Source(FetchError),
}
