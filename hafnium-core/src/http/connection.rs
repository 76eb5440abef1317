//! One connection: served until its client, a limit or the stop ends it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::activity::{Activity, Advice};
use super::forwarded::Scheme;
use super::server::Shared;
use super::tracked::Tracked;
use super::watched::Watched;
use crate::lifecycle::State;

/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to answer. HTTP/1.1 knows no
/// such question; there the limits of `Activity` find out.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// hyper takes no smaller limit of a head.
const SMALLEST_BUFFER: usize = 8192;

/// How long a client may take to take note of a polite end while nothing is under way.
const FINISHING: Duration = Duration::from_secs(1);

/// A request whose answer is not wholly sent.
#[derive(Debug)]
pub(crate) struct Exchange {
    method: Method,
    begun: Instant,
    /// The route's template, once the router has found it. Never the path: that may hold values.
    route: OnceLock<MatchedPath>,
}

impl Exchange {
    pub(crate) fn set_route(&self, route: MatchedPath) {
        let _ = self.route.set(route);
    }

    /// `POST /payments/{id} for 3.2s`.
    pub(super) fn describe(&self, now: Instant) -> String {
        let route = self.route.get().map_or("(no route)", MatchedPath::as_str);
        let age = now.saturating_duration_since(self.begun).as_secs_f64();
        format!("{} {route} for {age:.1}s", self.method)
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) activity: Activity,
    exchanges: Mutex<Vec<Arc<Exchange>>>,
}

impl Connection {
    pub(super) fn new(age: Option<Duration>) -> Self {
        Self {
            activity: Activity::new(Instant::now(), age),
            exchanges: Mutex::default(),
        }
    }

    pub(super) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether nothing is under way, down to the last byte of the last answer.
    fn is_done(&self) -> bool {
        self.exchanges().is_empty() && !self.activity.is_writing()
    }

    fn begin(self: &Arc<Self>, request: &Request<Incoming>) -> Underway {
        self.activity.request(request.version() == Version::HTTP_2);
        let exchange = Arc::new(Exchange {
            method: request.method().clone(),
            begun: Instant::now(),
            route: OnceLock::new(),
        });
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges.push(exchange.clone());
        Underway {
            connection: self.clone(),
            exchange,
        }
    }
}

/// Keeps a request in the list of those under way until its answer was wholly sent or given up.
pub(super) struct Underway {
    pub(super) connection: Arc<Connection>,
    exchange: Arc<Exchange>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.connection.activity.answered(Instant::now());
        let mut exchanges = self
            .connection
            .exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        exchanges.retain(|exchange| !Arc::ptr_eq(exchange, &self.exchange));
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

/// What a listener tells its connections.
#[derive(Clone, Copy)]
enum Told {
    Stop,
    Cut,
}

async fn told(token: CancellationToken, told: Told) -> Told {
    token.cancelled_owned().await;
    told
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
    let peer = Arc::new(peer);
    let service = service_fn(|request| {
        answer(
            request,
            peer.clone(),
            router.clone(),
            connection.clone(),
            shared.clone(),
        )
    });
    let builder = builder(shared.header_limit);
    let mut served = pin!(builder.serve_connection_with_upgrades(io, service));

    let now = Instant::now();
    let first = match connection.activity.advise(shared.limits(), now) {
        Advice::Keep(until) => until,
        Advice::Finish | Advice::Cut => now,
    };
    let mut look = pin!(tokio::time::sleep_until(first));
    // Each poll of a token takes a lock that all connections share; this way they are polled when they have news, and
    // not with every request.
    let mut told: FuturesUnordered<_> = [
        told(shared.cut.clone(), Told::Cut),
        told(shared.stop.clone(), Told::Stop),
    ]
    .into_iter()
    .collect();
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
            Some(told) = told.next(), if !told.is_empty() => match told {
                Told::Cut => break,
                Told::Stop => {
                    let now = Instant::now();
                    stopped = Some(now);
                    finishing = false;
                    look.as_mut().reset(now);
                }
            },
            () = look.as_mut() => {
                let now = Instant::now();
                let limits = shared.limits();
                let advice = match stopped {
                    _ if connection.activity.is_stuck(limits, now) => Advice::Cut,
                    _ if finishing && connection.is_done() => Advice::Cut,
                    _ if finishing => Advice::Keep(now + FINISHING),
                    Some(at) => connection.activity.advise_stopping(at, now),
                    None => connection.activity.advise(limits, now),
                };
                match advice {
                    Advice::Keep(until) => look.as_mut().reset(until),
                    Advice::Finish => {
                        served.as_mut().graceful_shutdown();
                        finishing = true;
                        look.as_mut().reset(now + FINISHING);
                    }
                    Advice::Cut => break,
                }
            }
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    peer: Arc<Peer>,
    mut router: Router,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Result<Response<Tracked>, Infallible> {
    let underway = connection.begin(&request);
    let multiplexed = request.version() == Version::HTTP_2;
    let caller = shared.caller(&peer, request.headers());
    let extensions = request.extensions_mut();
    extensions.insert(ConnectInfo(peer.address));
    extensions.insert(caller);
    extensions.insert(underway.exchange.clone());
    #[cfg(feature = "tls")]
    if let Some(identity) = &peer.identity {
        extensions.insert(identity.clone());
    }
    let mut response = router.call(request.map(Body::new)).await?;
    // A client that keeps its connection would send its next request into a listener that is about to close.
    let last =
        shared.lifecycle.state() >= State::Draining || connection.activity.is_of_age(underway.exchange.begun);
    if last && !multiplexed && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Tracked::new(body, underway, multiplexed)))
}
