//! A transaction that takes effect once per key, also when the reply to its COMMIT does not come.
//!
//! Each run of the closure marks the key in its own transaction first, see [`marker`](super::marker). After a COMMIT
//! of unknown outcome the next run finds out by marking again, on whichever node is the primary by then: if it gets the
//! key, the one before is certainly undone and the closure runs again; if it finds the marker, that run took effect and
//! what it returned is the answer. `pg_xact_status` is not asked: after a promotion transaction ids are given out
//! again, and it answers "committed" for what is not there (measured).

use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::attempts::Repeatable;
use super::error::{Detail, classify, find, of_transaction};
use super::marker::{Key, Run, mark};
use super::token::PendingToken;
use super::tx::Tx;
use super::view::View;
use hafnium_core::{Classify, Outcome};

/// More COMMITs without a reply than this only happen when something cuts each of them at once.
const MOST: u32 = 20;

/// What [`exactly_once`](super::Postgres::exactly_once) answers. Either way the effect is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Done<T> {
    /// This call did it; what its closure returned.
    Now(T),
    /// Another call with the same key had done it; the closure of this one had no effect.
    Before,
}

impl<T> Done<T> {
    /// What the closure of this call returned, if it was this call that did it.
    pub fn now(self) -> Option<T> {
        match self {
            Self::Now(value) => Some(value),
            Self::Before => None,
        }
    }
}

/// The runs of one call that got as far as COMMIT.
struct Runs<T> {
    ended: Vec<Ended<T>>,
    /// The node of the last run, and whether it had nothing left to do but COMMIT.
    node: String,
    committing: bool,
    /// The node whose reply to COMMIT did not come, until a later run gets the key.
    doubt: Option<String>,
    /// The marker that the last run found.
    found: Option<Found>,
}

struct Ended<T> {
    run: Run,
    value: T,
    token: PendingToken,
}

struct Found {
    run: Run,
    /// Of the transaction that found it: covers what the marker stands for.
    token: PendingToken,
}

impl<T> Runs<T> {
    fn new() -> Self {
        Self {
            ended: Vec::new(),
            node: String::new(),
            committing: false,
            doubt: None,
            found: None,
        }
    }

    fn begin(&mut self, tx: &Tx) {
        tx.node().clone_into(&mut self.node);
        self.committing = false;
        self.found = None;
    }

    /// The run got the key: no run before it can take effect any more.
    fn marked(&mut self) {
        self.doubt = None;
    }

    fn found(&mut self, run: Run, tx: &Tx) {
        let ours = self.ended.iter().find(|ended| ended.run == run);
        let token = match ours {
            Some(ours) if ours.token.is_asked() => tx.token(),
            _ => PendingToken::default(),
        };
        self.found = Some(Found { run, token });
        self.committing = true;
    }

    fn ended(&mut self, ended: Ended<T>) {
        self.ended.push(ended);
        self.committing = true;
    }

    /// Whether the last run ended in doubt, given what its transaction ended with.
    fn note(&mut self, outcome: Option<Outcome>) -> bool {
        let doubtful = self.committing && outcome == Some(Outcome::Unknown);
        if doubtful {
            self.doubt = Some(std::mem::take(&mut self.node));
        }
        doubtful
    }

    /// The answer, once the last transaction has committed.
    fn answer(mut self) -> Done<T> {
        let Some(found) = self.found else {
            let last = self.ended.pop();
            return last.map_or(Done::Before, |last| Done::Now(last.value));
        };
        match self.ended.into_iter().find(|ended| ended.run == found.run) {
            Some(ours) => {
                ours.token.fill(found.token.get());
                Done::Now(ours.value)
            }
            None => Done::Before,
        }
    }
}

impl View {
    /// As [`Postgres::exactly_once`](super::Postgres::exactly_once), under the rules of this view;
    /// [`idempotent`](View::idempotent) adds nothing to it.
    ///
    /// # Errors
    /// As there.
    pub async fn exactly_once<T, E, F, Fut>(&self, key: &str, body: F) -> Result<Done<T>, E>
    where
        T: Send,
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        let key = Key::new(key).map_err(sqlx::Error::from)?;
        let view = Self {
            // A COMMIT in doubt is looked up here, and only what certainly did not happen is repeated below.
            repeatable: Repeatable::WhenCertain,
            ..self.clone()
        };
        let (mut running, deadline) = (self.client.instruments.begin(), view.deadline());
        let (runs, body) = (Mutex::new(Runs::new()), Mutex::new(body));
        let (shared, body) = (&runs, &body);
        for doubts in 0.. {
            let attempt = move |mut tx: Tx| async move {
                lock(shared).begin(&tx);
                let run = Run::new();
                let holder = mark(&mut tx, key, run).await?;
                if holder != run {
                    lock(shared).found(holder, &tx);
                    return Ok(());
                }
                lock(shared).marked();
                let token = tx.pending();
                let closure = lock(body)(tx);
                let value = closure.await?;
                lock(shared).ended(Ended { run, value, token });
                Ok(())
            };
            let attempt = view.transact(attempt, &mut running);
            let Err(error) = deadline.scope(attempt).await else {
                break;
            };
            let outcome = find(&error).map(|error| classify(error).outcome());
            let doubtful = lock(shared).note(outcome);
            if !doubtful || doubts >= MOST || deadline.is_past() {
                let doubt = lock(shared).doubt.take();
                let error = in_vain(error, outcome, doubt);
                running.ended(Some(of_transaction(&error)));
                return Err(error);
            }
            running.doubted();
            view.client.instruments.retries.add(1);
            tracing::debug!("looking up what became of a COMMIT without a reply");
            // The first look-up goes at once, as the first retry does.
            let ceiling = if doubts == 0 {
                0
            } else {
                5_000_u64 << doubts.min(5)
            };
            let pause = Duration::from_micros(fastrand::u64(0..=ceiling));
            tokio::time::sleep(pause.min(deadline.remaining())).await;
        }
        running.ended(None);
        view.client.retention.wake(&view);
        Ok(runs.into_inner().unwrap_or_else(PoisonError::into_inner).answer())
    }
}

/// What the caller gets. An error that says "not run" of the look-up must not say so of the run that is in doubt.
fn in_vain<E>(error: E, outcome: Option<Outcome>, doubt: Option<String>) -> E
where
    E: From<sqlx::Error> + StdError + 'static,
{
    match doubt {
        Some(node) if outcome != Some(Outcome::Unknown) => {
            let reason = format!("what became of it could not be looked up: {error}");
            E::from(Detail::CommitUnknown { node, reason }.into())
        }
        _ => error,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
