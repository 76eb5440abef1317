//! User and password, which may change while the service runs: what logins use, and until when the connections that
//! were opened with others may serve.
//!
//! Invariants: the pools use a new pair only after one login with it succeeded, and keep the one before until then.
//! While the pair in use is refused, only the [`keeper`] logs in: it asks the secrets' sources once for all who wait,
//! and no other host is tried with a password that is wrong. After a change a connection is closed only when one with
//! the new pair is there in its place, or after a minute.

mod keeper;
mod pair;
mod replacement;
mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hafnium_core::metrics::{Counter, Metrics};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use self::keeper::keep;
pub(super) use self::pair::Origin;
pub(crate) use self::pair::Pair;
use self::state::State;
use super::opener::LoginError;
use super::settings::PostgresSettings;
use super::topology::NodeId;

/// The longest a login waits for the keeper; its rounds are bounded and shorter.
const PATIENCE: Duration = Duration::from_secs(15);

/// The user and the password of one database.
pub(crate) struct Credentials {
    component: String,
    origin: Origin,
    state: Mutex<State>,
    /// That of the state, to be read without its lock.
    generation: AtomicU64,
    gate: watch::Sender<Gate>,
    wake: Notify,
    adopted: Counter,
    rejected: Counter,
    refused: Counter,
}

/// Whether logins may be tried.
#[derive(Clone)]
enum Gate {
    Open,
    /// A server refused; the keeper looks for what works.
    Looking(Refusal),
    /// The keeper found nothing that works.
    Refused(Refusal),
}

/// A server refused the user or the password.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) node: NodeId,
    pub(crate) error: Arc<sqlx::Error>,
}

/// What a connection took with it from its login: which pair it was made with.
#[derive(Clone)]
pub(crate) struct Seal {
    credentials: Arc<Credentials>,
    node: NodeId,
    generation: u64,
    /// Counts the connections of a pair; a probe's is none of the pool.
    _share: Option<Arc<()>>,
}

impl Seal {
    /// Whether a connection with this seal may be given out again. One that has been replaced is refused once.
    pub(crate) fn holds(&self) -> bool {
        self.is_current() || {
            let mut state = self.credentials.state();
            state.keeps(self.node, self.generation, Instant::now())
        }
    }

    /// Whether the pair is the one in use.
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.credentials.generation.load(Ordering::Acquire)
    }

    /// The seal of a connection that comes into a pool; `None` when its pair has been replaced.
    pub(crate) fn pooled(self) -> Option<Self> {
        let share = {
            let mut state = self.credentials.state();
            let current = state.generation == self.generation;
            current.then(|| state.share(self.node))?
        };
        Some(Self {
            _share: Some(share),
            ..self
        })
    }

    /// The seal of a connection that is not in a pool.
    pub(crate) fn apart(self) -> Self {
        Self { _share: None, ..self }
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seal({})", self.generation)
    }
}

impl Credentials {
    /// # Errors
    /// What is wrong with the keys that say user and password.
    pub(crate) fn new(
        component: &str,
        settings: &PostgresSettings,
        metrics: &Metrics,
        name: &str,
    ) -> Result<Self, String> {
        let origin = Origin::new(settings)?;
        let changes = metrics.counter(
            "hafnium.postgres.credentials",
            "{event}",
            "What became of users and passwords: adopted, rejected (the last good ones stay), refused (nothing works)",
        );
        let counter = |result| changes.with(&[("db.client.connection.pool.name", name), ("result", result)]);
        Ok(Self {
            component: component.to_owned(),
            state: Mutex::new(State::new(origin.bundle.current())),
            origin,
            generation: AtomicU64::new(0),
            gate: watch::Sender::new(Gate::Open),
            wake: Notify::new(),
            adopted: counter("adopted"),
            rejected: counter("rejected"),
            refused: counter("refused"),
        })
    }

    /// `options` for a login at `node` with the pair in use. Waits while the keeper looks for one that works.
    ///
    /// # Errors
    /// Without asking a server, when nothing works or this node refuses what the primary accepts.
    ///
    /// Cancel-safe.
    pub(crate) async fn admission(
        self: &Arc<Self>,
        node: NodeId,
        options: &PgConnectOptions,
    ) -> Result<(PgConnectOptions, Seal), LoginError> {
        let mut gate = self.gate.subscribe();
        let settled = gate.wait_for(|gate| !matches!(gate, Gate::Looking(_)));
        // In time or not, what the gate says then is the answer.
        drop(tokio::time::timeout(PATIENCE, settled).await.map(drop));
        self.admission_now(node, options)
    }

    /// As [`Credentials::admission`], without waiting.
    pub(crate) fn admission_now(
        self: &Arc<Self>,
        node: NodeId,
        options: &PgConnectOptions,
    ) -> Result<(PgConnectOptions, Seal), LoginError> {
        match &*self.gate.borrow() {
            Gate::Open => {}
            Gate::Looking(refusal) | Gate::Refused(refusal) => return Err(LoginError(refusal.error.clone())),
        }
        let mut state = self.state();
        if let Some(refusal) = state.held(node, Instant::now()) {
            return Err(LoginError(refusal.error));
        }
        let seal = Seal {
            credentials: self.clone(),
            node,
            generation: state.generation,
            _share: Some(state.share(node)),
        };
        Ok((state.adopted.sign(options), seal))
    }

    /// `options` with the pair in use, whether it works or not.
    pub(crate) fn sign(&self, options: &PgConnectOptions) -> PgConnectOptions {
        self.state().adopted.sign(options)
    }

    /// `node` let a login with `seal` in.
    pub(crate) fn accepted(&self, node: NodeId, seal: &Seal) {
        if seal.is_current() {
            self.state().release(node);
        }
    }

    /// `node` refused a login with `seal`: from now on nobody tries but the keeper, unless there is another pair
    /// already.
    pub(crate) fn refused(&self, node: NodeId, seal: &Seal, error: &Arc<sqlx::Error>) {
        if !seal.is_current() {
            return;
        }
        let looks = self.gate.send_if_modified(|gate| {
            let open = matches!(gate, Gate::Open);
            if open {
                *gate = Gate::Looking(Refusal {
                    node,
                    error: error.clone(),
                });
            }
            open
        });
        if looks {
            self.wake.notify_one();
        }
    }

    /// The keys that say who logs in, such as `postgres.ledger: login`.
    pub(crate) fn keys(&self) -> String {
        format!("{}: {}", self.component, self.own_keys())
    }

    /// The keys that say who logs in, below that of the database.
    pub(crate) fn own_keys(&self) -> String {
        self.origin.keys()
    }

    /// Whether the keeper looks for what works at present.
    pub(crate) fn looks(&self) -> bool {
        matches!(&*self.gate.borrow(), Gate::Looking(_))
    }

    /// What someone should look at, if there is anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Gate::Refused(refusal) = &*self.gate.borrow() {
            return Some(format!("login refused with {}: {}", self.keys(), refusal.error));
        }
        self.state().rejected.as_deref().map(str::to_owned)
    }

    /// Held for a few instructions only, and never over an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `error` of a login is about the user or the password, and nothing else.
pub(crate) fn refuses(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(|error| error.code());
    state.is_some_and(|state| matches!(&*state, "28P01" | "28000"))
}
