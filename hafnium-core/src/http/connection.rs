//! One connection: served until its client, a limit or the stop ends it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service;

use super::activity::{Activity, Advice};
use super::server::Shared;
use crate::lifecycle::State;

/// How long a client may take to take note of a polite end while nothing is under way.
const FINISHING: Duration = Duration::from_secs(1);

/// A request whose answer is not wholly sent.
#[derive(Debug)]
pub(crate) struct Exchange {
    method: Method,
    begun: Instant,
    /// The route's template, once the router has found it. Never the path: that may hold values.
    route: OnceLock<String>,
}

impl Exchange {
    pub(crate) fn set_route(&self, route: &str) {
        let _ = self.route.set(route.to_owned());
    }

    /// `POST /payments/{id} for 3.2s`.
    pub(super) fn describe(&self, now: Instant) -> String {
        let route = self.route.get().map_or("(no route)", String::as_str);
        let age = now.saturating_duration_since(self.begun).as_secs_f64();
        format!("{} {route} for {age:.1}s", self.method)
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    activity: Activity,
    exchanges: Mutex<Vec<Arc<Exchange>>>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            activity: Activity::new(Instant::now()),
            exchanges: Mutex::default(),
        }
    }

    pub(super) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
struct Underway {
    connection: Arc<Connection>,
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

/// Serves one connection to its end. Dropping it cuts the connection.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) {
    // Answers are written whole; waiting for more bytes only adds latency.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Watched {
        stream,
        connection: connection.clone(),
    });
    let service =
        service_fn(|request| answer(request, peer, router.clone(), connection.clone(), shared.clone()));

    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The limits are those of `Activity`: hyper's own timer of the head also runs while a kept connection is idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new());
    let mut served = pin!(builder.serve_connection_with_upgrades(io, service));

    let mut look = pin!(tokio::time::sleep(shared.limits.header));
    let mut stopped: Option<Instant> = None;
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%peer, error, "connection ended with an error");
                }
                break;
            }
            () = shared.cut.cancelled() => break,
            () = shared.stop.cancelled(), if stopped.is_none() => {
                let now = Instant::now();
                stopped = Some(now);
                finishing = false;
                look.as_mut().reset(now);
            }
            () = look.as_mut() => {
                let now = Instant::now();
                let advice = match stopped {
                    _ if finishing && connection.exchanges().is_empty() => Advice::Cut,
                    _ if finishing => Advice::Keep(now + FINISHING),
                    Some(at) => connection.activity.advise_stopping(at, now),
                    None => connection.activity.advise(shared.limits, now),
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
    peer: SocketAddr,
    mut router: Router,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Result<Response<Tracked>, Infallible> {
    let underway = connection.begin(&request);
    let multiplexed = request.version() == Version::HTTP_2;
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(underway.exchange.clone());
    let mut response = router.call(request.map(Body::new)).await?;
    // A client that keeps its connection would send its next request into a listener that is about to close.
    let draining = shared.lifecycle.state() >= State::Draining;
    if draining && !multiplexed && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Tracked {
        body,
        _underway: underway,
    }))
}

pin_project! {
    /// The body of an answer, which keeps its request in the list of those under way.
    struct Tracked {
        #[pin]
        body: Body,
        _underway: Underway,
    }
}

impl HttpBody for Tracked {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A stream that notes when bytes come in.
    struct Watched {
        #[pin]
        stream: TcpStream,
        connection: Arc<Connection>,
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let read = this.stream.poll_read(cx, buf);
        if buf.filled().len() > before {
            this.connection.activity.received(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
