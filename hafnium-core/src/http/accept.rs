//! The accept loop: it turns until the stop, whatever errors come.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::{Connection, Peer, serve};
use super::server::Shared;
use crate::health::Heartbeat;

/// How often the accept loop says that it turns, and after how long a silent one fails `livez`.
const TURN: Duration = Duration::from_secs(1);
pub(super) const TURN_LIMIT: Duration = Duration::from_secs(15);

/// After the stop was asked for, connections that the kernel had already taken are still accepted for this long:
/// closing the socket would reset them.
const LAST_ACCEPTS: Duration = Duration::from_millis(20);

/// Accepts until the stop, whatever errors come: one client's or the process's (`EMFILE`).
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    shared: Arc<Shared>,
    heartbeat: Option<Heartbeat>,
) {
    let room = Arc::new(Semaphore::new(shared.max_connections));
    let mut turn = tokio::time::interval(TURN);
    let mut pause = Duration::ZERO;
    let mut next_id = 0;
    loop {
        let accepted = async {
            // Even a sleep of no time ends with the next tick of the timer, a millisecond later.
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
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
    let connection = Arc::new(Connection::new(shared.age(), shared.lifecycle.clone()));
    let listed = Listed {
        shared: shared.clone(),
        id,
    };
    let connections = &shared.connections;
    connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id, connection.clone());
    let shared = shared.clone();
    async move {
        let _listed = listed;
        // Answers are written whole; waiting for more bytes only adds latency.
        let _ = stream.set_nodelay(true);
        let peer = Peer::plain(peer);
        #[cfg(feature = "tls")]
        if let Some(tls) = &shared.tls {
            let shaken = tls.handshake(stream, &shared.stop, &shared.cut).await;
            if let Some((stream, identity)) = shaken {
                let peer = peer.over_tls(identity);
                serve(stream, peer, router, connection, shared.clone()).await;
            }
            return;
        }
        serve(stream, peer, router, connection, shared).await;
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
