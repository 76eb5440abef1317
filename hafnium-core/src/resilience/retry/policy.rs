//! The handle that callers hold.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::decision::Rules;
use super::figures::Figures;
use super::layer::RetryLayer;
use super::session::{RetrySession, Step};
use super::settings::RetrySettings;
use crate::classify::Classify;
use crate::metrics::Metrics;
use crate::resilience::budget::RetryBudget;

/// Repeats failed calls of one dependency.
///
/// Classification comes first: an attempt is repeated when its error is [retryable](Classify::retryable) and says that
/// nothing happened (`NotRun`, `RolledBack`), or when the caller declared the call [idempotent](Self::idempotent).
/// Between two attempts is a pause with full jitter, on top of what the dependency itself asked for
/// ([`Classify::retry_after`]). No pause ends behind the deadline in force ([`Deadline::current`]), and each retry takes
/// a token of the [`RetryBudget`].
///
/// What is given back in the end is an error of the call itself, never one about retries: the last one, or the first
/// one when the budget did not allow a retry. An error whose outcome is
/// [`Unknown`](crate::Outcome::Unknown) goes before one that is certain, so that the answer never claims more certainty
/// than all attempts together have.
///
/// Clones share the settings, the budget and the metrics.
///
/// ```
/// use hafnium_core::resilience::{RetryPolicy, RetrySettings};
/// use hafnium_core::{Classified, Fault, Outcome};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let refused = Classified::new(Outcome::NotRun, true, Fault::Dependency, "scoring.refused");
/// let policy = RetryPolicy::new("scoring", &RetrySettings::default());
/// let mut attempts = 0;
/// let answer = policy
///     .run(|| {
///         attempts += 1;
///         let attempt = attempts;
///         async move { if attempt < 3 { Err(refused) } else { Ok("scored") } }
///     })
///     .await;
/// assert_eq!(answer, Ok("scored"));
/// # }
/// ```
///
/// [`Deadline::current`]: crate::Deadline::current
#[derive(Clone)]
pub struct RetryPolicy {
    shared: Arc<Shared>,
    budget: RetryBudget,
    idempotent: bool,
}

struct Shared {
    rules: Mutex<Rules>,
    figures: Figures,
}

impl RetryPolicy {
    /// A policy for calls of `dependency` with a budget of its own; no metric shows it.
    pub fn new(dependency: &str, settings: &RetrySettings) -> Self {
        Self::with_metrics(dependency, settings, &Metrics::noop())
    }

    /// The same, counted in `hafnium.retry.attempts`, `hafnium.retry.results` and `hafnium.retry.budget.tokens`.
    pub fn with_metrics(dependency: &str, settings: &RetrySettings, metrics: &Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                rules: Mutex::new(Rules::from(settings)),
                figures: Figures::new(dependency, metrics),
            }),
            budget: RetryBudget::with_metrics(dependency, &settings.budget, metrics),
            idempotent: false,
        }
    }

    /// The same policy on `budget`, for several policies of one dependency.
    #[must_use]
    pub fn with_budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = budget.clone();
        self
    }

    /// A view for calls that may take effect twice without harm: a retryable error of unknown outcome is repeated too.
    #[must_use]
    pub fn idempotent(&self) -> Self {
        Self {
            idempotent: true,
            ..self.clone()
        }
    }

    /// The budget that this policy takes its tokens from.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Follows a reload, in every clone, view and layer; calls under way follow from their next failure on.
    pub fn configure(&self, settings: &RetrySettings) {
        *self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner) = Rules::from(settings);
        self.budget.configure(&settings.budget);
    }

    /// Calls `attempt` until it succeeds or must not be repeated.
    ///
    /// Cancel-safety: as that of one attempt; dropped during a pause, nothing is under way.
    ///
    /// # Errors
    /// An error of `attempt`, see the type for which one.
    pub async fn run<T, E, F, Fut>(&self, mut attempt: F) -> Result<T, E>
    where
        E: Classify,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut session = self.session();
        loop {
            match attempt().await {
                Ok(value) => {
                    session.succeeded();
                    return Ok(value);
                }
                Err(error) => match session.failed(error) {
                    Step::RetryAfter(pause) => tokio::time::sleep(pause).await,
                    Step::GiveUp(error) => return Err(error),
                },
            }
        }
    }

    /// The bookkeeping of one call, for those that write the loop themselves. The call has begun: its share is put into
    /// the budget.
    pub fn session<E: Classify>(&self) -> RetrySession<E> {
        RetrySession::begin(self.clone())
    }

    /// A tower layer over the same settings, budget and metrics. Requests must be `Clone`, and so must the service.
    pub fn layer(&self) -> RetryLayer {
        RetryLayer::new(self.clone())
    }

    pub(super) fn rules(&self) -> Rules {
        *self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent
    }
}

impl std::fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("rules", &self.rules())
            .field("budget", &self.budget)
            .field("idempotent", &self.idempotent)
            .finish()
    }
}
