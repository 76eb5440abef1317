//! What all handles on one upstream share, and how a call goes.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::attempt::Limits;
use super::ejection::Rules;
use super::endpoint::{Blueprint, Endpoint};
use super::error::UpstreamError;
use super::figures::Figures;
use super::hedge::Latest;
use super::lookup::{Lookups, look_up};
use super::order::Order;
use super::resolve::Resolve;
use super::response::Response;
use super::settings::{HedgeSettings, UpstreamSettings};
use super::target::Target;
use crate::classify::{Classify, Outcome};
use crate::config::ByteSize;
use crate::deadline::{Deadline, DeadlineExceeded};
use crate::propagation::Propagation;
use crate::resilience::retry::Step;
use crate::resilience::{Breaker, Bulkhead, RetryPolicy, Verdict};

/// The settings that may change while it runs, as they are used.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) connect_timeout: Duration,
    pub(super) body_limit: ByteSize,
    pub(super) resolve_interval: Duration,
    pub(super) ejection: Rules,
    pub(super) hedge: HedgeSettings,
}

impl From<&UpstreamSettings> for Live {
    fn from(settings: &UpstreamSettings) -> Self {
        Self {
            timeout: settings.timeout.get(),
            attempt_timeout: settings.attempt_timeout.map(Into::into),
            connect_timeout: settings.connect_timeout.get(),
            body_limit: settings.body_limit,
            resolve_interval: settings.resolve_interval.get(),
            ejection: Rules::from(&settings.ejection),
            hedge: settings.hedge.clone(),
        }
    }
}

pub(super) struct Core {
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) live: Arc<ArcSwap<Live>>,
    pub(super) addresses: Addresses,
    pub(super) lookups: Lookups,
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) policy: RetryPolicy,
    pub(super) breaker: Breaker,
    pub(super) bulkhead: Bulkhead,
    pub(super) latest: Mutex<Latest>,
    pub(super) figures: Arc<Figures>,
    pub(super) propagation: Propagation,
    pub(super) user_agent: HeaderValue,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<crate::tls::client::TlsClient>,
}

impl Core {
    pub(super) fn live(&self) -> arc_swap::Guard<Arc<Live>> {
        self.live.load()
    }

    /// Held for a few instructions only.
    pub(super) fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn configure(&self, settings: &UpstreamSettings) {
        self.live.store(Arc::new(Live::from(settings)));
        self.policy.configure(&settings.retry);
        self.breaker.configure(&settings.breaker);
        self.bulkhead.configure(&settings.bulkhead);
    }

    /// Follows the configuration in force.
    pub(super) async fn keep_reloading(self: Arc<Self>, config: crate::config::Live) {
        let mut changes = config.watch();
        loop {
            let config = changes.changed().await;
            // Without a service around it there is no configuration of this upstream.
            if let Ok(settings) = config.named::<UpstreamSettings>(&self.name) {
                self.configure(&settings);
            }
        }
    }

    /// Takes `addresses` as those of the name.
    pub(super) fn follow(&self, addresses: &[SocketAddr]) {
        let rules = self.live().ejection;
        let make = |address| Endpoint::new(address, self.blueprint.clone(), self.figures.counts());
        let (came, left) = self.addresses.follow(addresses, &rules, make);
        if came + left > 0 {
            tracing::info!(upstream = &*self.name, came, left, "addresses changed");
        }
        self.lookups.ended(None);
    }

    /// Looks the addresses up again and again.
    pub(super) async fn keep_looking_up(self: Arc<Self>, resolver: Arc<dyn Resolve>) {
        let mut told = false;
        loop {
            let begun = Instant::now();
            let answer = look_up(&resolver, &self.target).await;
            let failed = answer.is_err();
            match answer {
                Ok(addresses) => {
                    told = false;
                    self.follow(&addresses);
                }
                Err(error) => {
                    self.figures.lookups_failed.add(1);
                    if !std::mem::replace(&mut told, true) {
                        let kept = self.addresses.all().len();
                        tracing::warn!(
                            upstream = &*self.name,
                            host = self.target.host,
                            error,
                            kept,
                            "lookup failed"
                        );
                    }
                    self.lookups.ended(Some(error));
                }
            }
            let interval = self.live().resolve_interval;
            self.lookups.due(begun, failed, interval).await;
        }
    }

    /// Makes the whole call: room, attempts, pauses.
    pub(super) async fn call(&self, order: &Order) -> Result<Response, UpstreamError> {
        let own = self.live().timeout;
        let limit = order.within.map_or(own, |within| within.min(own));
        let ours = Deadline::after(own);
        let deadline = Deadline::nearest(limit).min(ours);
        let callers = deadline < ours;
        let result = deadline.scope(self.guarded(order, deadline, callers)).await;
        result.map_err(|error| order.failed(error))
    }

    /// `callers` says that the deadline is nearer than that of our own `timeout`.
    async fn guarded(
        &self,
        order: &Order,
        deadline: Deadline,
        callers: bool,
    ) -> Result<Response, UpstreamError> {
        let _place = self.bulkhead.enter().await?;
        self.has_address(deadline).await?;
        let policy = match order.idempotent {
            true => self.policy.idempotent(),
            false => self.policy.clone(),
        };
        let mut session = policy.session();
        let mut tried = Vec::new();
        loop {
            let error = match self.admitted(order, deadline, callers, &mut tried).await {
                Ok(response) => {
                    session.succeeded();
                    return Ok(response);
                }
                Err(error) => error,
            };
            if !order.content.is_kept() {
                return Err(error);
            }
            match session.failed(error) {
                Step::RetryAfter(pause) => tokio::time::sleep(pause).await,
                Step::GiveUp(error) => return Err(error),
            }
        }
    }

    /// Waits for the first lookup, where there was none yet.
    async fn has_address(&self, deadline: Deadline) -> Result<(), UpstreamError> {
        if !self.addresses.all().is_empty() {
            return Ok(());
        }
        let first = deadline.bound("the addresses of its name", self.lookups.first());
        first.await.map_err(|late| self.late(late))?;
        match self.addresses.all().is_empty() {
            false => Ok(()),
            true => Err(self.no_address()),
        }
    }

    fn late(&self, late: DeadlineExceeded) -> UpstreamError {
        UpstreamError::Deadline {
            upstream: self.name.clone(),
            late,
            sent: false,
            attempt: false,
        }
    }

    fn no_address(&self) -> UpstreamError {
        UpstreamError::NoAddress {
            upstream: self.name.clone(),
            host: self.target.host.clone(),
            reason: self.lookups.known().error.unwrap_or_default(),
        }
    }

    /// One attempt, if the breaker lets it through.
    async fn admitted(
        &self,
        order: &Order,
        deadline: Deadline,
        callers: bool,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Response, UpstreamError> {
        let admission = self.breaker.admit()?;
        let begun = Instant::now();
        let result = self.dialed(order, deadline, tried).await;
        match &result {
            // It works; what it was asked for is another matter.
            Err(error) if error.is_judgement() => admission.record(Verdict::Success),
            // It had no time to answer: impatient callers would open the breaker of what works for everybody.
            Err(UpstreamError::Deadline { attempt: false, .. })
                if callers && begun.elapsed() < self.live().connect_timeout =>
            {
                admission.record(Verdict::Ignored);
            }
            result => admission.observe(result),
        }
        result
    }

    /// One attempt at an address that takes a connection. Nothing was sent to one that does not, so the next one is no
    /// retry: it costs neither a pause nor the budget.
    async fn dialed(
        &self,
        order: &Order,
        deadline: Deadline,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Response, UpstreamError> {
        let own = self.live().attempt_timeout.map(Deadline::after);
        let mut limits = Limits {
            deadline: own.map_or(deadline, |own| own.min(deadline)),
            own: own.is_some_and(|own| own < deadline),
            dial: self.live().connect_timeout,
        };
        let mut left = limits.dial;
        loop {
            let resent = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            let lease = self.addresses.choose(tried, Instant::now());
            let lease = lease.ok_or_else(|| self.no_address())?;
            tried.push(lease.endpoint().address());
            let others = order.content.is_kept() && self.addresses.has_others(tried);
            limits.dial = if others { left / 2 } else { left };
            let begun = Instant::now();
            let attempt = self.attempt(order, lease, limits, resent);
            let result = self.hedged(order, attempt, limits, tried).await;
            match result {
                Err(UpstreamError::Connect { retryable: true, .. })
                    if others && self.addresses.has_others(tried) && !limits.deadline.is_past() =>
                {
                    left = left.saturating_sub(begun.elapsed());
                }
                result => return result,
            }
        }
    }

    /// `first`, and a second attempt beside it when it is slow, if that may be and the budget allows it. The answer that
    /// comes first is used, and the other attempt is dropped.
    async fn hedged(
        &self,
        order: &Order,
        first: impl Future<Output = Result<Response, UpstreamError>>,
        limits: Limits,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Response, UpstreamError> {
        let repeatable = order.idempotent && order.content.is_kept();
        let delay = match repeatable {
            true => self.latest().delay(&self.live().hedge),
            false => None,
        };
        let Some(delay) = delay else {
            return first.await;
        };
        let mut first = pin!(first);
        if let Ok(result) = tokio::time::timeout(delay, &mut first).await {
            return result;
        }
        let Some(lease) = self.addresses.choose(tried, Instant::now()) else {
            return first.await;
        };
        if !self.policy.budget().withdraw() {
            return first.await;
        }
        let resent = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        tried.push(lease.endpoint().address());
        self.figures.hedges.add(1);
        let mut second = pin!(self.attempt(order, lease, limits, resent));
        tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(response) => Ok(response),
                // The other one is dropped, and nobody knows what becomes of it.
                Err(error) if error.is_judgement() => Err(error.doubted()),
                Err(error) => match second.await {
                    Ok(response) => {
                        self.figures.hedges_won.add(1);
                        Ok(response)
                    }
                    Err(other) => Err(less_certain(error, other)),
                },
            },
            result = &mut second => match result {
                Ok(response) => {
                    self.figures.hedges_won.add(1);
                    Ok(response)
                }
                Err(error) if error.is_judgement() => Err(error.doubted()),
                Err(other) => first.await.map_err(|error| less_certain(error, other)),
            },
        }
    }
}

/// What two attempts of one call come to: the one of unknown outcome, if there is one, else the first.
fn less_certain(first: UpstreamError, second: UpstreamError) -> UpstreamError {
    match (first.outcome(), second.outcome()) {
        (Outcome::Unknown, _) => first,
        (_, Outcome::Unknown) => second,
        _ => first,
    }
}
