//! A listener that is served: its accept loop and its end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::Limits;
use super::bind::Bound;
use super::connection::{Connection, serve};
use super::loopback::{LOOPBACK_LIMIT, loopback};
use super::settings::HttpSettings;
use crate::component::{BoxFuture, Component, StartError, Stopped};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::health::{Heartbeat, Registry};
use crate::lifecycle::Watch;

/// How often the accept loop says that it turns, and after how long a silent one fails `livez`.
const TURN: Duration = Duration::from_secs(1);
const TURN_LIMIT: Duration = Duration::from_secs(15);

/// After the stop was asked for, connections that the kernel had already taken are still accepted for this long:
/// closing the socket would reset them.
const LAST_ACCEPTS: Duration = Duration::from_millis(20);

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(super) limits: Limits,
    pub(super) lifecycle: Watch,
    /// Stop accepting and finish.
    pub(super) stop: CancellationToken,
    /// Drop everything.
    pub(super) cut: CancellationToken,
    tracker: TaskTracker,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    max_connections: usize,
}

impl Shared {
    /// As many connections as are allowed: the next one is accepted when one of them ends.
    fn is_full(&self) -> bool {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.len() >= self.max_connections
    }
}

/// A listener that is being served. Dropping it cuts all its connections; [`Component::stop`] drains it.
///
/// The application's one is a workload of the stop plan: while the service drains it goes on serving and answers
/// `Connection: close`; its `stop` closes the listener and idle connections, says GOAWAY to HTTP/2 clients and waits
/// for requests under way.
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
    /// [`StartError::Configuration`] when the address was taken since it was claimed.
    pub fn serve(&self, bound: Bound, router: Router, cx: &Context) -> Result<Server, StartError> {
        let limits = Limits {
            header: self.header_timeout.get(),
            idle: self.idle_timeout.get(),
        };
        Server::start(
            bound,
            router,
            limits,
            self.max_connections,
            cx.lifecycle(),
            Some(cx.health()),
        )
    }
}

impl Server {
    pub(crate) fn start(
        bound: Bound,
        router: Router,
        limits: Limits,
        max_connections: u32,
        lifecycle: &Watch,
        health: Option<&Registry>,
    ) -> Result<Self, StartError> {
        let (name, address) = (bound.name(), bound.local_addr());
        let listener = bound.listen()?;
        let shared = Arc::new(Shared {
            limits,
            lifecycle: lifecycle.clone(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tracker: TaskTracker::new(),
            connections: Mutex::default(),
            max_connections: usize::try_from(max_connections)
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
            .flat_map(|connection| connection.exchanges())
            .map(|exchange| exchange.describe(now))
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

/// Accepts until the stop, whatever errors come: one client's or the process's (`EMFILE`).
async fn accept(listener: TcpListener, router: Router, shared: Arc<Shared>, heartbeat: Option<Heartbeat>) {
    let room = Arc::new(Semaphore::new(shared.max_connections));
    let mut turn = tokio::time::interval(TURN);
    let mut pause = Duration::ZERO;
    let mut next_id = 0;
    loop {
        let accepted = async {
            tokio::time::sleep(pause).await;
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            _ = turn.tick() => {
                if let Some(heartbeat) = &heartbeat {
                    heartbeat.beat();
                }
                continue;
            }
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = Duration::ZERO;
                next_id += 1;
                let served = track(stream, peer, router.clone(), &shared, next_id);
                shared.tracker.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: trying again at once would only burn the processor.
                pause = (pause * 2).clamp(Duration::from_millis(20), TURN / 2);
                tracing::error!(%error, "can't accept connections, trying again in {pause:?}");
            }
        }
    }
    drop(heartbeat);
    let last = Instant::now() + LAST_ACCEPTS;
    while let Ok(Ok((stream, peer))) = tokio::time::timeout_at(last, listener.accept()).await {
        next_id += 1;
        shared
            .tracker
            .spawn(track(stream, peer, router.clone(), &shared, next_id));
    }
}

/// Serves one connection while it is in the list.
fn track(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shared: &Arc<Shared>,
    id: u64,
) -> impl Future<Output = ()> + Send + use<> {
    let connection = Arc::new(Connection::new());
    let listed = Listed {
        shared: shared.clone(),
        id,
    };
    let connections = &shared.connections;
    connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id, connection.clone());
    let served = serve(stream, peer, router, connection, shared.clone());
    async move {
        let _listed = listed;
        served.await;
    }
}

/// Takes a connection off the list when it ends, also by a panic.
struct Listed {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut connections = self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.remove(&self.id);
    }
}

/// The client was gone before it was accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
