//! One connection: served until its client, a limit or the stop ends it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Advice, Limits};
use super::answers::Answers;
use super::exchange::Exchanges;
use super::forwarded::Scheme;
use super::server::Shared;
use super::watched::Watched;
use crate::lifecycle::Watch;

/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to answer. HTTP/1.1 knows no
/// such question; there the limits of `Activity` find out.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// hyper takes no smaller limit of a head.
const SMALLEST_BUFFER: usize = 8192;

/// How long a client may take to take note of a polite end while nothing is under way.
const FINISHING: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) lifecycle: Watch,
    known: Mutex<Known>,
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) activity: Activity,
    pub(super) exchanges: Exchanges,
}

impl Connection {
    pub(super) fn new(age: Option<Duration>, lifecycle: Watch) -> Self {
        Self {
            lifecycle,
            known: Mutex::new(Known {
                activity: Activity::new(Instant::now(), age),
                exchanges: Exchanges::default(),
            }),
        }
    }

    /// Locked for as long as it is kept; a request does so when its bytes come, when it begins and when it ends.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do with it now: `stopped` is when the listener was told to stop, `finishing` whether its client was told.
    fn advise(&self, limits: Limits, stopped: Option<Instant>, finishing: bool, now: Instant) -> Advice {
        let mut known = self.known();
        match stopped {
            _ if known.activity.is_stuck(limits, now) => Advice::Cut,
            _ if finishing && known.is_done() => Advice::Cut,
            _ if finishing => Advice::Keep(now + FINISHING),
            Some(at) => known.activity.advise_stopping(at, now),
            None => known.activity.advise(limits, now),
        }
    }
}

impl Known {
    /// Whether nothing is under way, down to the last byte of the last answer.
    fn is_done(&self) -> bool {
        self.exchanges.is_empty() && !self.activity.is_writing()
    }
}

/// Whom a connection is with.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) scheme: Scheme,
    /// Who the client proved to be.
    #[cfg(feature = "tls")]
    pub(super) identity: Option<crate::tls::PeerIdentity>,
}

impl Peer {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self {
            // A dual stack socket writes IPv4 addresses as IPv6 ones.
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            scheme: Scheme::Http,
            #[cfg(feature = "tls")]
            identity: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn over_tls(self, identity: Option<crate::tls::PeerIdentity>) -> Self {
        Self {
            scheme: Scheme::Https,
            identity,
            ..self
        }
    }
}

/// How HTTP is spoken: what the builders of hyper are told.
fn builder(header_limit: usize) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The limits are those of `Activity`: hyper's own timer of the head also runs while a kept connection is idle.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(header_limit.max(SMALLEST_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_limit).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Why a connection is looked at, other than for its client's sake.
enum Call {
    Stop,
    Cut,
    /// It is time. That of an earlier plan is no news.
    Look(u64),
}

/// When that is.
enum Signal {
    Told(CancellationToken, Call),
    At(Instant, u64),
}

impl Signal {
    async fn wait(self) -> Call {
        match self {
            Self::Told(token, call) => {
                token.cancelled_owned().await;
                call
            }
            Self::At(instant, plan) => {
                tokio::time::sleep_until(instant).await;
                Call::Look(plan)
            }
        }
    }
}

/// Serves one connection to its end. Dropping it cuts the connection.
pub(super) async fn serve<S>(
    stream: S,
    peer: Peer,
    router: Router,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Watched::new(stream, connection.clone()));
    let address = peer.address;
    let service = Answers::new(peer, router, connection.clone(), shared.clone());
    let builder = builder(shared.header_limit);
    let mut served = pin!(builder.serve_connection_with_upgrades(io, service));

    let now = Instant::now();
    let first = match connection.known().activity.advise(shared.limits(), now) {
        Advice::Keep(until) => until,
        Advice::Finish | Advice::Cut => now,
    };
    // Each poll of a token takes a lock that all connections share, and one of a timer is not for nothing either; this way
    // they are polled when they have news, and not with every request.
    let mut calls: FuturesUnordered<_> = [
        Signal::Told(shared.cut.clone(), Call::Cut),
        Signal::Told(shared.stop.clone(), Call::Stop),
        Signal::At(first, 0),
    ]
    .into_iter()
    .map(Signal::wait)
    .collect();
    let mut plan = 0;
    let mut stopped: Option<Instant> = None;
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(peer = %address, error, "connection ended with an error");
                }
                break;
            }
            Some(call) = calls.next() => {
                let now = Instant::now();
                let until = match call {
                    Call::Cut => break,
                    // With the next tick: what has arrived by now is read before.
                    Call::Stop => {
                        stopped = Some(now);
                        finishing = false;
                        now
                    }
                    Call::Look(of) if of != plan => continue,
                    Call::Look(_) => match connection.advise(shared.limits(), stopped, finishing, now) {
                        Advice::Keep(until) => until,
                        Advice::Finish => {
                            served.as_mut().graceful_shutdown();
                            finishing = true;
                            now + FINISHING
                        }
                        Advice::Cut => break,
                    },
                };
                plan += 1;
                calls.push(Signal::At(until, plan).wait());
            }
        }
    }
}
