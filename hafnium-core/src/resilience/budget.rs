//! The share of retries that all callers of one dependency may add to its load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::bucket::{Allowance, Bucket};
use crate::config::Ratio;
use crate::metrics::{Gauge, Metrics};

/// How many retries a dependency gets beside its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryBudgetSettings {
    /// Retries per request in the long run. Default `10%`: a dependency that is down gets at most a tenth more load
    /// by retries.
    #[schemars(extend("x-reloadable" = true))]
    pub ratio: Ratio,
    /// Retries per second that are allowed whatever the number of requests, so that a quiet service can retry.
    /// Default `10`.
    #[schemars(extend("x-reloadable" = true))]
    pub minimum_per_second: u32,
    /// The most retries that can be saved up. Default `100`.
    #[schemars(range(min = 1), extend("x-reloadable" = true))]
    pub burst: u32,
}

impl Default for RetryBudgetSettings {
    fn default() -> Self {
        Self {
            ratio: Ratio::from_percent(10),
            minimum_per_second: 10,
            burst: 100,
        }
    }
}

impl RetryBudgetSettings {
    fn allowance(&self) -> Allowance {
        Allowance {
            ratio: self.ratio.get(),
            minimum: self.minimum_per_second,
            burst: self.burst,
        }
    }
}

/// A token bucket of retries, shared by all callers of one dependency: each request puts
/// [`ratio`](RetryBudgetSettings::ratio) of a token in, each second
/// [`minimum_per_second`](RetryBudgetSettings::minimum_per_second), each retry takes one out. Clones share the tokens.
///
/// Without one, each layer of a system that retries three times multiplies the load of an outage by three.
#[derive(Clone)]
pub struct RetryBudget(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    tokens: Gauge,
}

struct Inner {
    bucket: Bucket,
    published: Option<Instant>,
}

/// How often the tokens are published while nothing is retried: a request in the hot path records nothing.
const PUBLISHED_EACH: Duration = Duration::from_secs(1);

impl RetryBudget {
    /// A full budget whose tokens no metric shows.
    pub fn new(settings: &RetryBudgetSettings) -> Self {
        Self::with_metrics("", settings, &Metrics::noop())
    }

    /// A full budget; `hafnium.retry.budget.tokens` shows what `dependency` has left.
    pub fn with_metrics(dependency: &str, settings: &RetryBudgetSettings, metrics: &Metrics) -> Self {
        let tokens = metrics.gauge(
            "hafnium.retry.budget.tokens",
            "{retry}",
            "Retries that the budget of a dependency still allows",
        );
        Self(Arc::new(Shared {
            inner: Mutex::new(Inner {
                bucket: Bucket::new(settings.allowance(), Instant::now()),
                published: None,
            }),
            tokens: tokens.with(&[("dependency", dependency)]),
        }))
    }

    /// Other rules from now on; the tokens held stay, cut to the new burst.
    pub fn configure(&self, settings: &RetryBudgetSettings) {
        self.lock().bucket.configure(settings.allowance(), Instant::now());
    }

    /// A request begins: puts its share in.
    pub fn deposit(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.bucket.deposit(now);
        let due = inner
            .published
            .is_none_or(|at| now.saturating_duration_since(at) >= PUBLISHED_EACH);
        self.publish(inner, due.then_some(now));
    }

    /// Takes a token for one retry; without one there must be no retry.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut inner = self.lock();
        let allowed = inner.bucket.withdraw(now);
        self.publish(inner, Some(now));
        allowed
    }

    /// How many retries are left now.
    pub fn tokens(&self) -> f64 {
        self.lock().bucket.tokens()
    }

    fn publish(&self, mut inner: MutexGuard<'_, Inner>, now: Option<Instant>) {
        if let Some(now) = now {
            inner.published = Some(now);
            let tokens = inner.bucket.tokens();
            drop(inner);
            self.0.tokens.set(tokens);
        }
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryBudget")
            .field("tokens", &self.tokens())
            .finish()
    }
}
