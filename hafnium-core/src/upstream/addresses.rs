//! The addresses of an upstream: which there are, and which one gets the next request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::choice::less_busy_of_two;
use super::ejection::{Admission, Rules};
use super::endpoint::{Endpoint, Lease};
use super::figures::Figures;

pub(super) struct Addresses {
    current: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Held while an address is put out or the list changes, so that never too many are out.
    changing: Mutex<()>,
    figures: Arc<Figures>,
}

/// What came of one request, to the address that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Works,
    Fails,
    /// It says nothing of the address.
    Nothing,
}

impl Addresses {
    pub(super) fn new(figures: Arc<Figures>) -> Self {
        Self {
            current: ArcSwap::default(),
            changing: Mutex::new(()),
            figures,
        }
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.current.load_full()
    }

    /// How many are out.
    pub(super) fn out(&self) -> usize {
        self.all().iter().filter(|endpoint| endpoint.is_out()).count()
    }

    /// Follows an answer of the resolver: new addresses are made, those that left it get nothing any more; what runs
    /// there ends as it would have. Returns how many came and how many left.
    pub(super) fn follow(
        &self,
        answer: &[SocketAddr],
        rules: &Rules,
        make: impl Fn(SocketAddr) -> Endpoint,
    ) -> (usize, usize) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let mut next: Vec<Arc<Endpoint>> = Vec::with_capacity(answer.len());
        let mut came = 0;
        for address in answer {
            if next.iter().any(|endpoint| endpoint.address() == *address) {
                continue;
            }
            let known = before.iter().find(|endpoint| endpoint.address() == *address);
            next.push(known.cloned().unwrap_or_else(|| {
                came += 1;
                Arc::new(make(*address))
            }));
        }
        let stays = |one: &&Arc<Endpoint>| next.iter().any(|other| other.address() == one.address());
        let left = before.len() - before.iter().filter(stays).count();
        if came + left > 0 {
            readmit(&next, rules);
            self.current.store(Arc::new(next));
        }
        self.show();
        (came, left)
    }

    /// The address of the next request: one of those that were not `tried` in this call, the less busy of two. One that
    /// is due for its trial goes first. If all are out or tried, any of them.
    pub(super) fn choose(&self, tried: &[SocketAddr], now: Instant) -> Option<Lease> {
        let all = self.current.load();
        if let [only] = all.as_slice() {
            return Some(Lease::new(only.clone(), false));
        }
        let mut candidates = Vec::with_capacity(all.len());
        for endpoint in all.iter().filter(|endpoint| !tried.contains(&endpoint.address())) {
            match endpoint.admission(now) {
                Admission::In => candidates.push(endpoint),
                Admission::Trial if endpoint.begin_trial(now) => {
                    return Some(Lease::new(endpoint.clone(), true));
                }
                Admission::Trial | Admission::Out => {}
            }
        }
        if candidates.is_empty() {
            candidates.extend(all.iter().filter(|endpoint| !endpoint.is_out()));
        }
        if candidates.is_empty() {
            candidates.extend(all.iter());
        }
        let busy: Vec<usize> = candidates.iter().map(|endpoint| endpoint.busy()).collect();
        let chosen = less_busy_of_two(&busy, |below| fastrand::usize(..below))?;
        let endpoint: &Arc<Endpoint> = candidates.get(chosen)?;
        Some(Lease::new(endpoint.clone(), false))
    }

    /// Whether another address than `tried` could have the request.
    pub(super) fn has_others(&self, tried: &[SocketAddr]) -> bool {
        let all = self.current.load();
        all.iter()
            .any(|endpoint| !endpoint.is_out() && !tried.contains(&endpoint.address()))
    }

    /// Takes what came of a request into the standing of its address.
    pub(super) fn judge(&self, lease: &mut Lease, sign: Sign, rules: &Rules) {
        let now = Instant::now();
        let endpoint = lease.endpoint().clone();
        match sign {
            Sign::Nothing => return,
            Sign::Works => {
                if endpoint.succeeded(now) {
                    tracing::info!(address = %endpoint.address(), "address is back");
                    self.show();
                }
            }
            Sign::Fails => {
                if endpoint.failed(now, rules) {
                    self.eject(&endpoint, now, rules);
                }
            }
        }
        lease.judged();
    }

    fn eject(&self, endpoint: &Endpoint, now: Instant, rules: &Rules) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.current.load();
        let listed = all.iter().any(|known| std::ptr::eq(known.as_ref(), endpoint));
        if !listed || endpoint.is_out() || self.out() >= rules.most_out(all.len()) {
            return;
        }
        let time = endpoint.eject(now, rules);
        self.figures.ejections.add(1);
        tracing::warn!(address = %endpoint.address(), ?time, "address ejected");
        self.show();
    }

    fn show(&self) {
        let out = self.out();
        self.figures.addresses_in.set((self.all().len() - out) as f64);
        self.figures.addresses_out.set(out as f64);
    }
}

/// Fewer addresses may be out of fewer: those that would come back soonest do so now.
fn readmit(endpoints: &[Arc<Endpoint>], rules: &Rules) {
    let now = Instant::now();
    let mut out: Vec<_> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint.out_for(now).map(|left| (left, endpoint)))
        .collect();
    out.sort_by_key(|(left, _)| *left);
    let surplus = out.len().saturating_sub(rules.most_out(endpoints.len()));
    for (_, endpoint) in out.into_iter().take(surplus) {
        endpoint.come_in(now);
    }
}
