//! One address of an upstream, with hyper's pool of connections to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::core::Live;
use super::ejection::{Admission, Rules, Standing};
use super::link::{Counting, Counts};
use super::payload::Payload;
use super::settings::Protocol;
use crate::tls::client::Connector;

pub(super) type Client = HyperClient<Counting, Payload>;

/// HTTP/2 pings on a connection that is used or kept: one that leads nowhere is found within a quarter of a minute
/// instead of by the requests on it.
const PING_EACH: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How clients of an address are made.
pub(super) struct Blueprint {
    pub(super) connector: Connector,
    /// For how long opening a connection may take at present.
    pub(super) live: Arc<ArcSwap<Live>>,
    pub(super) protocol: Protocol,
    pub(super) idle_timeout: Duration,
    pub(super) max_idle: usize,
}

impl Blueprint {
    fn client(&self, address: SocketAddr, counts: &Arc<Counts>, max_idle: usize) -> Client {
        let connector = Counting {
            connector: self.connector.clone().to(address),
            live: self.live.clone(),
            counts: counts.clone(),
        };
        HyperClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(max_idle)
            .http2_only(self.protocol == Protocol::Http2)
            .http2_keep_alive_interval(PING_EACH)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(connector)
    }
}

/// One address.
pub(super) struct Endpoint {
    address: SocketAddr,
    busy: AtomicUsize,
    /// A copy of the standing, so that what is in costs no lock.
    out: AtomicBool,
    standing: Mutex<Standing>,
    client: ArcSwap<Client>,
    pub(super) counts: Arc<Counts>,
    blueprint: Arc<Blueprint>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, blueprint: Arc<Blueprint>, counts: Counts) -> Self {
        let counts = Arc::new(counts);
        let client = blueprint.client(address, &counts, blueprint.max_idle);
        Self {
            address,
            busy: AtomicUsize::new(0),
            out: AtomicBool::new(false),
            standing: Mutex::new(Standing::new()),
            client: ArcSwap::from_pointee(client),
            counts,
            blueprint,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that are under way.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// The client with the kept connections.
    pub(super) fn client(&self) -> Arc<Client> {
        self.client.load_full()
    }

    /// A client that keeps nothing, and so opens a connection for its request.
    pub(super) fn fresh(&self) -> Client {
        self.blueprint.client(self.address, &self.counts, 0)
    }

    /// Uses no connection any more that is open now. What runs on one ends as it would have.
    #[cfg(feature = "tls")]
    pub(super) fn renew(&self) {
        let client = self
            .blueprint
            .client(self.address, &self.counts, self.blueprint.max_idle);
        self.client.store(Arc::new(client));
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.out.load(Ordering::Relaxed) {
            false => Admission::In,
            true => self.lock().admission(now),
        }
    }

    /// For how long it is still out, if it is.
    pub(super) fn out_for(&self, now: Instant) -> Option<Duration> {
        self.lock().out_for(now)
    }

    pub(super) fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    pub(super) fn begin_trial(&self, now: Instant) -> bool {
        self.judge(|standing| standing.begin_trial(now))
    }

    pub(super) fn abandon_trial(&self, now: Instant) {
        self.judge(|standing| standing.abandon_trial(now));
    }

    /// True if that took the address in again.
    pub(super) fn succeeded(&self, now: Instant) -> bool {
        self.judge(|standing| standing.succeeded(now))
    }

    /// True if the address is to be ejected.
    pub(super) fn failed(&self, now: Instant, rules: &Rules) -> bool {
        self.judge(|standing| standing.failed(now, rules))
    }

    pub(super) fn eject(&self, now: Instant, rules: &Rules) -> Duration {
        self.judge(|standing| standing.eject(now, rules))
    }

    pub(super) fn come_in(&self, now: Instant) {
        self.judge(|standing| standing.come_in(now));
    }

    fn judge<T>(&self, judge: impl FnOnce(&mut Standing) -> T) -> T {
        let mut standing = self.lock();
        let result = judge(&mut standing);
        self.out.store(standing.is_out(), Ordering::Relaxed);
        result
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request at an address: counted as under way until it is dropped, and as a trial that told nothing if it was one
/// and was dropped without a verdict.
pub(super) struct Lease {
    endpoint: Arc<Endpoint>,
    trial: bool,
}

impl Lease {
    pub(super) fn new(endpoint: Arc<Endpoint>, trial: bool) -> Self {
        endpoint.busy.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, trial }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The verdict is given: dropping it changes the standing no more.
    pub(super) fn judged(&mut self) {
        self.trial = false;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.busy.fetch_sub(1, Ordering::Relaxed);
        if self.trial {
            self.endpoint.abandon_trial(Instant::now());
        }
    }
}
