//! One secret in the store: its handle, the keys that hold it, when it is asked for again and how it stands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::Clock;
use super::meters::Meters;
use super::report::SecretReport;
use super::schedule::{Freshness, Schedule};
use super::state::{SecretState, Standing};
use crate::secret::handle::Secret;
use crate::secret::provider::{FetchError, FetchErrorKind, Fetched, Version};
use crate::secret::rule::Rule;
use crate::secret::slot::{Published, Slot};
use crate::secret::source::Source;
use crate::secret::value::Value;

/// A key of the configuration that holds the secret.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) key: String,
    pub(super) rule: Rule,
    pub(super) maximum_age: Duration,
}

/// One secret that the store keeps.
pub(super) struct Entry {
    pub(super) secret: Secret,
    pub(super) wake: Arc<Notify>,
    memory: Mutex<Memory>,
}

struct Memory {
    uses: Vec<Use>,
    schedule: Schedule,
    /// The version in use and since when, where its source does not say when it was changed.
    since: (Version, SystemTime),
    error: Option<FetchError>,
    meters: Meters,
}

impl Entry {
    pub(super) fn new(
        secret: Secret,
        wake: Arc<Notify>,
        schedule: Schedule,
        clock: Clock,
        meters: Meters,
    ) -> Self {
        let since = (secret.current().version().clone(), clock.wall(Instant::now()));
        Self {
            secret,
            wake,
            memory: Mutex::new(Memory {
                uses: Vec::new(),
                schedule,
                since,
                error: None,
                meters,
            }),
        }
    }

    /// Held for a few instructions only, and never over an await.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.secret.slot
    }

    /// Takes the keys that hold it now.
    pub(super) fn used_by(&self, uses: Vec<Use>) {
        self.memory().uses = uses;
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.memory().uses.iter().map(|one| one.key.clone()).collect()
    }

    pub(super) fn meter(&self, meters: Meters) {
        self.memory().meters = meters;
    }

    /// Whether someone waits for a refresh.
    pub(super) fn is_wanted(&self) -> bool {
        let flight = self.slot().flight.borrow();
        flight.requested > flight.finished
    }

    /// A question begins. Gives whether someone waits for it; who asks from now on shares it only then.
    pub(super) fn take_off(&self) -> bool {
        let mut forced = false;
        self.slot().flight.send_modify(|flight| {
            forced = flight.requested > flight.finished;
            flight.unforced = !forced;
        });
        forced
    }

    /// Tells all who wait that a question ended.
    pub(super) fn land(&self, error: Option<FetchError>) {
        self.slot().flight.send_modify(|flight| {
            flight.finished += 1;
            flight.unforced = false;
            flight.error = error;
        });
    }

    pub(super) fn due(&self) -> Instant {
        self.memory().schedule.due()
    }

    pub(super) fn earliest(&self) -> Instant {
        self.memory().schedule.earliest()
    }

    pub(super) fn asks(&self, now: Instant) {
        self.memory().schedule.asks(now);
    }

    /// The version in use, once there is one.
    pub(super) fn held(&self) -> Option<Version> {
        (!self.secret.is_pending()).then(|| self.secret.current().version().clone())
    }

    /// Whether every key can use it.
    pub(super) fn admit(&self, value: Value) -> Result<Value, FetchError> {
        let memory = self.memory();
        let mut rejected = memory
            .uses
            .iter()
            .filter_map(|one| Some((&one.key, one.rule.reject(&value)?)));
        match rejected.next() {
            None => Ok(value),
            Some((key, reason)) => Err(FetchError {
                kind: FetchErrorKind::Invalid,
                message: format!("{}: not usable for {key}: {reason}", self.secret.source()),
            }),
        }
    }

    /// Takes what a provider answered.
    pub(super) fn take(
        &self,
        answer: Result<Fetched, FetchError>,
        now: Instant,
        clock: Clock,
    ) -> Result<(), FetchError> {
        let (refresh_after, expires_after, value) = match answer {
            Ok(fetched) => {
                let Fetched {
                    material,
                    version,
                    refresh_after,
                    expires_after,
                    changed,
                } = fetched;
                let value = self.slot().form.read(material, Some(version), changed);
                let value = value.map_err(|reason| FetchError {
                    kind: FetchErrorKind::Invalid,
                    message: format!("{}: {reason}", self.secret.source()),
                });
                (refresh_after, expires_after, value)
            }
            Err(error) => (None, None, Err(error)),
        };
        let published = value
            .and_then(|value| self.admit(value))
            .map(|value| self.slot().publish(value));
        self.settle(published, refresh_after, expires_after, now, clock)
    }

    /// Remembers how a question ended, and says in the log what is new about it.
    pub(super) fn settle(
        &self,
        published: Result<Published, FetchError>,
        refresh_after: Option<Duration>,
        expires_after: Option<Duration>,
        now: Instant,
        clock: Clock,
    ) -> Result<(), FetchError> {
        let key = self.keys().join(", ");
        let mut memory = self.memory();
        memory.meters.asked(published.as_ref());
        let failed_before = memory.error.take();
        match published {
            Ok(published) => {
                memory
                    .schedule
                    .succeeds(now, refresh_after, expires_after, fastrand::f64());
                if published == Published::Changed {
                    let version = self.secret.current().version().clone();
                    tracing::info!(secret = key, version = version.shown(), "there is a new value");
                    memory.since = (version, clock.wall(now));
                } else if failed_before.is_some() {
                    tracing::info!(secret = key, "the source is well again");
                }
                Ok(())
            }
            Err(error) => {
                memory.schedule.fails(now, error.kind, fastrand::f64());
                if failed_before.is_none_or(|before| before.kind != error.kind) && !self.secret.is_pending() {
                    tracing::warn!(secret = key, "{error}; the last value serves on");
                }
                memory.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// A line for each key that holds it.
    pub(super) fn reports(&self, now: Instant, clock: Clock) -> Vec<SecretReport> {
        let value = self.secret.current();
        let pending = self.secret.is_pending();
        let verdict = self.slot().verdict().clone();
        let memory = self.memory();
        let changed = value.changed().unwrap_or(memory.since.1);
        let age = clock.age(changed, now);
        let standing = Standing {
            freshness: match self.secret.source() {
                // Nothing asks for it again.
                Source::Literal | Source::Variable(_) => Freshness::Fresh,
                _ => memory.schedule.freshness(now),
            },
            age,
            maximum_age: Duration::MAX,
            refused: verdict.refused.as_ref() == Some(value.version()),
            mismatched: verdict.rejected.is_some(),
        };
        let reports = memory.uses.iter().map(|one| {
            let standing = Standing {
                maximum_age: one.maximum_age,
                ..standing
            };
            let state = standing.state();
            let error = memory.error.as_ref().map(|error| error.message.clone());
            SecretReport {
                key: one.key.clone(),
                source: self.secret.source().clone(),
                version: (!pending).then(|| value.version().shown().to_owned()),
                age,
                maximum_age: one.maximum_age,
                asked: match self.secret.source() {
                    Source::Literal | Source::Variable(_) => None,
                    _ => Some(memory.schedule.since_success(now)),
                },
                state,
                reason: error
                    .or_else(|| verdict.rejected.clone())
                    .filter(|_| state != SecretState::Current),
            }
        });
        reports.collect()
    }

    /// Sets the gauges.
    pub(super) fn measure(&self, now: Instant, clock: Clock) {
        let reports = self.reports(now, clock);
        let version = self.secret.current().version().clone();
        self.memory().meters.set(&reports, &version);
    }
}
