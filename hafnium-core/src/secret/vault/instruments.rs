//! What is measured of Vault.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::answer::Failure;
use crate::metrics::{Counter, Metrics};

/// Counters of everything that shares a provider; they count nothing until there is somewhere to count to. Cheap to
/// clone.
#[derive(Clone)]
pub(super) struct Instruments {
    counters: Arc<ArcSwap<Counters>>,
}

/// By outcome, resolved once.
struct Counters {
    requests: Outcomes,
    logins: Outcomes,
    token_renewals: Outcomes,
    lease_renewals: Outcomes,
    lent: Counter,
    revoked: Counter,
}

struct Outcomes {
    ok: Counter,
    invalid_token: Counter,
    refused: Counter,
    outage: Counter,
}

impl Outcomes {
    fn new(counter: &Counter, kind: Option<&str>) -> Self {
        let with = |outcome| match kind {
            Some(kind) => counter.with(&[("kind", kind), ("outcome", outcome)]),
            None => counter.with(&[("outcome", outcome)]),
        };
        Self {
            ok: with("ok"),
            invalid_token: with("invalid_token"),
            refused: with("refused"),
            outage: with("outage"),
        }
    }

    fn count(&self, failure: Option<&Failure>) {
        let counter = match failure {
            None => &self.ok,
            Some(Failure::InvalidToken) => &self.invalid_token,
            Some(failure) if failure.is_outage() => &self.outage,
            Some(_) => &self.refused,
        };
        counter.add(1);
    }
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let requests = metrics.counter(
            "hafnium.vault.requests",
            "{request}",
            "Requests to Vault with a token, by outcome",
        );
        let logins = metrics.counter("hafnium.vault.logins", "{login}", "Logins at Vault, by outcome");
        let renewals = metrics.counter(
            "hafnium.vault.renewals",
            "{renewal}",
            "Renewals of Vault's token and leases, by outcome",
        );
        let leases = metrics.counter(
            "hafnium.vault.leases",
            "{lease}",
            "Leases taken from Vault and given back early",
        );
        Self {
            requests: Outcomes::new(&requests, None),
            logins: Outcomes::new(&logins, None),
            token_renewals: Outcomes::new(&renewals, Some("token")),
            lease_renewals: Outcomes::new(&renewals, Some("lease")),
            lent: leases.with(&[("event", "lent")]),
            revoked: leases.with(&[("event", "revoked")]),
        }
    }
}

impl Instruments {
    pub(super) fn none() -> Self {
        Self {
            counters: Arc::new(ArcSwap::from_pointee(Counters::new(&Metrics::noop()))),
        }
    }

    /// Counts to `metrics` from now on.
    pub(super) fn observe(&self, metrics: &Metrics) {
        self.counters.store(Arc::new(Counters::new(metrics)));
    }

    pub(super) fn asked(&self, failure: Option<&Failure>) {
        self.counters.load().requests.count(failure);
    }

    pub(super) fn logged_in(&self, failure: Option<&Failure>) {
        self.counters.load().logins.count(failure);
    }

    pub(super) fn token_renewed(&self, failure: Option<&Failure>) {
        self.counters.load().token_renewals.count(failure);
    }

    pub(super) fn lease_renewed(&self, failure: Option<&Failure>) {
        self.counters.load().lease_renewals.count(failure);
    }

    pub(super) fn lent(&self) {
        self.counters.load().lent.add(1);
    }

    pub(super) fn revoked(&self) {
        self.counters.load().revoked.add(1);
    }
}
