//! A listener that is served, and its end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{TURN_LIMIT, accept};
use super::activity::Limits;
use super::bind::Bound;
use super::connection::{Connection, Peer};
use super::forwarded::{Caller, Trust};
use super::loopback::{LOOPBACK_LIMIT, loopback};
use super::reload::follow;
use super::settings::HttpSettings;
use crate::component::{BoxFuture, Component, StartError, Stopped};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::health::Registry;
use crate::lifecycle::Watch;

/// How a listener treats its connections.
pub(crate) struct Serving {
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    pub(crate) max_connections: u32,
    /// How old a connection may become; `None` for any age.
    pub(crate) max_age: Option<Duration>,
    /// Bytes of the head of a request.
    pub(crate) header_limit: usize,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<crate::tls::Acceptor>>,
}

impl Serving {
    /// Few clients, all known, in plain text: the operator listener.
    pub(crate) fn plain(limits: Limits, max_connections: u32) -> Self {
        Self {
            limits,
            trust: Trust::default(),
            max_connections,
            max_age: None,
            header_limit: 32 << 10,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// What can be replaced while connections are served.
struct Current {
    limits: Limits,
    trust: Trust,
}

/// What all connections of a listener share.
pub(crate) struct Shared {
    current: ArcSwap<Current>,
    /// Whether any proxy is trusted now: where none is, a request needs nothing of `current`.
    trusting: AtomicBool,
    pub(super) header_limit: usize,
    max_age: Option<Duration>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<crate::tls::Acceptor>>,
    pub(super) lifecycle: Watch,
    /// Stop accepting and finish.
    pub(super) stop: CancellationToken,
    /// Drop everything.
    pub(super) cut: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) connections: Mutex<HashMap<u64, Arc<Connection>>>,
    pub(super) max_connections: usize,
}

impl Shared {
    pub(super) fn limits(&self) -> Limits {
        self.current.load().limits
    }

    pub(super) fn adopt(&self, limits: Limits, trust: Trust) {
        self.trusting.store(trust.trusts_any(), Ordering::Release);
        self.current.store(Arc::new(Current { limits, trust }));
    }

    pub(super) fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Caller {
        let address = peer.address.ip();
        match self.trusting.load(Ordering::Acquire) {
            true => self.current.load().trust.caller(address, peer.scheme, headers),
            false => Caller::direct(address, peer.scheme),
        }
    }

    /// As many connections as are allowed: the next one is accepted when one of them ends.
    fn is_full(&self) -> bool {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.len() >= self.max_connections
    }

    /// How old the next connection may become: ± 10 %, so that those that came together do not leave together.
    pub(super) fn age(&self) -> Option<Duration> {
        self.max_age.map(|age| age.mul_f64(0.9 + 0.2 * fastrand::f64()))
    }
}

/// A listener that is being served. Dropping it cuts all its connections; [`Component::stop`] drains it.
///
/// The application's one is a workload of the stop plan: while the service drains it goes on serving and answers
/// `Connection: close`; its `stop` closes the listener and idle connections, says GOAWAY to HTTP/2 clients and waits
/// for requests under way.
///
/// A connection that was upgraded, such as a WebSocket, is its handler's from then on: it does not count in
/// `http.max_connections`, no drain waits for it, and no limit of time ends it.
#[must_use]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    name: &'static str,
}

impl HttpSettings {
    /// Serves `router` on `bound` under these settings, with the accept loop watched by `livez`.
    ///
    /// Nothing is wrapped around the router: see [`envelope`](super::envelope) and
    /// [`mount_probes`](super::mount_probes). Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when the address was taken since it was claimed, or when the settings, certificate
    /// and key among them, can't work.
    pub fn serve(&self, bound: Bound, router: Router, cx: &Context) -> Result<Server, StartError> {
        if let Some((key, reason)) = self.faults().into_iter().next() {
            return Err(StartError::configuration("http", format!("{key}: {reason}")));
        }
        let serving = Serving {
            limits: self.limits(),
            trust: self.trust(),
            max_connections: self.max_connections,
            max_age: Some(self.max_connection_age.get()).filter(|age| !age.is_zero()),
            header_limit: usize::try_from(self.header_limit.bytes()).unwrap_or(usize::MAX),
            #[cfg(feature = "tls")]
            tls: match bound.acceptor() {
                Some(acceptor) => Some(acceptor),
                None => self.acceptor(cx)?,
            },
        };
        let server = Server::start(bound, router, serving, cx.lifecycle(), Some(cx.health()))?;
        follow(&server.shared, cx);
        Ok(server)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            header: self.header_timeout.get(),
            idle: self.idle_timeout.get(),
            write: self.write_timeout.get(),
        }
    }
}

impl Server {
    pub(crate) fn start(
        bound: Bound,
        router: Router,
        serving: Serving,
        lifecycle: &Watch,
        health: Option<&Registry>,
    ) -> Result<Self, StartError> {
        let (name, address) = (bound.name(), bound.local_addr());
        let listener = bound.listen()?;
        // Until a router has its state, it puts each route into all of its layers anew for every request.
        let router: Router = router.with_state(());
        let shared = Arc::new(Shared {
            trusting: AtomicBool::new(serving.trust.trusts_any()),
            current: ArcSwap::from_pointee(Current {
                limits: serving.limits,
                trust: serving.trust,
            }),
            header_limit: serving.header_limit,
            max_age: serving.max_age,
            #[cfg(feature = "tls")]
            tls: serving.tls,
            lifecycle: lifecycle.clone(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tracker: TaskTracker::new(),
            connections: Mutex::default(),
            max_connections: usize::try_from(serving.max_connections)
                .unwrap_or(Semaphore::MAX_PERMITS)
                .clamp(1, Semaphore::MAX_PERMITS),
        });
        let heartbeat = health.map(|health| health.heartbeat(format!("{name}.accept"), TURN_LIMIT));
        if let Some(health) = health {
            let heartbeat = health.heartbeat(format!("{name}.loopback"), LOOPBACK_LIMIT);
            let listener = shared.clone();
            shared.tracker.spawn(async move {
                let loopback = loopback(address, heartbeat, || listener.is_full());
                listener.stop.run_until_cancelled(loopback).await;
            });
        }
        shared
            .tracker
            .spawn(accept(listener, router, shared.clone(), heartbeat));
        tracing::info!(listener = name, %address, "listening");
        Ok(Self {
            shared,
            address,
            name,
        })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes what is under way and closes all connections; what is not finished by `deadline` is
    /// cut and named.
    ///
    /// Cancel-safety: the listener stays stopped; calling it again goes on waiting.
    pub async fn drain(&self, deadline: Deadline) -> Stopped {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        let ended = deadline.bound("requests under way", self.shared.tracker.wait());
        if ended.await.is_ok() {
            return Stopped::Clean;
        }
        let mut stragglers = self.requests();
        if stragglers.is_empty() {
            stragglers.push(format!("{} connections", self.connections().len()));
        }
        self.shared.cut.cancel();
        Stopped::Incomplete(stragglers)
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let connections = self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.values().cloned().collect()
    }

    /// The requests under way: method, route and age.
    pub fn requests(&self) -> Vec<String> {
        let now = Instant::now();
        self.connections()
            .iter()
            .flat_map(|connection| connection.known().exchanges.describe(now))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.cut.cancel();
    }
}

impl Component for Server {
    fn name(&self) -> &str {
        self.name
    }

    /// It is served from the moment it exists.
    fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(self.drain(deadline))
    }

    fn under_way(&self) -> Vec<String> {
        self.requests()
    }
}
