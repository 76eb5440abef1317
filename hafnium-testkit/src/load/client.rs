//! One client: one request at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Kind, Pace, Shared};

type Body = Empty<Bytes>;

/// No answer may take longer.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a request that never left is sent again over a new connection.
const MOVES: u32 = 3;

/// How h2 says that GOAWAY without an error came before the request, or named it as one that was not looked at (RFC 9113,
/// 6.8): it may be sent again. A stream that the server had accepted and then dropped fails with another error.
const GONE_AWAY: &str = "connection error received: not a result of an error";

pub(super) struct Client {
    kind: Kind,
    address: SocketAddr,
    rest: Duration,
    path: String,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// How sending went.
enum Sent {
    /// Answered well; whether the server closes the connection.
    Answered {
        closes: bool,
    },
    /// The connection was closed before anything of the request left.
    NeverLeft,
    /// GOAWAY says that the server did not look at it.
    GoneAway,
    Failed(String),
}

impl Client {
    pub(super) fn new(kind: Kind, address: SocketAddr, pace: &Pace) -> Client {
        Client {
            kind,
            address,
            rest: pace.rest,
            path: pace.path.clone(),
            connection: None,
        }
    }

    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        while shared.goes_on() {
            if self.needs_connection() && !shared.may_connect() {
                return;
            }
            let phase = shared.count.sending();
            match tokio::time::timeout(LIMIT, self.request(&shared)).await {
                Ok(Ok(closes)) => shared.count.ok(phase, closes),
                Ok(Err(None)) => {
                    // Nothing left, and nowhere to go: for a real client another replica answers it.
                    shared.count.unsent(phase);
                    return;
                }
                Ok(Err(Some(reason))) => {
                    self.connection = None;
                    shared.count.failed(phase, reason);
                }
                Err(_) => {
                    self.connection = None;
                    shared.count.failed(phase, format!("no answer within {LIMIT:?}"));
                }
            }
            tokio::time::sleep(self.rest).await;
        }
    }

    fn needs_connection(&self) -> bool {
        match &self.connection {
            None => true,
            Some(Connection::Http1(sender)) => sender.is_closed(),
            Some(Connection::Http2(sender)) => sender.is_closed(),
        }
    }

    /// One request to its answer; whether the server said that it closes. `Err(None)` when it never left.
    async fn request(&mut self, shared: &Shared) -> Result<bool, Option<String>> {
        for _ in 0..MOVES {
            let opened = self.needs_connection();
            if opened {
                if !shared.may_connect() {
                    return Err(None);
                }
                self.connection = Some(self.connect().await.map_err(Some)?);
                shared.count.connected();
            }
            let request = self.message().map_err(Some)?;
            let sent = match &mut self.connection {
                Some(Connection::Http1(sender)) => match sender.ready().await {
                    Ok(()) => sent(sender.try_send_request(request).await).await,
                    Err(_) => Sent::NeverLeft,
                },
                Some(Connection::Http2(sender)) => match sender.ready().await {
                    Ok(()) => sent(sender.try_send_request(request).await).await,
                    Err(_) => Sent::NeverLeft,
                },
                None => Sent::NeverLeft,
            };
            match sent {
                Sent::Answered { closes } => {
                    if closes || self.kind == Kind::Http1Fresh {
                        self.connection = None;
                    }
                    return Ok(closes);
                }
                // A server that takes a new connection owes it an answer; one that was kept it may have closed.
                Sent::NeverLeft if opened => {
                    return Err(Some("a new connection was closed without an answer".to_owned()));
                }
                Sent::NeverLeft | Sent::GoneAway => self.connection = None,
                Sent::Failed(reason) => return Err(Some(reason)),
            }
        }
        Err(Some(format!(
            "{MOVES} connections closed before the request left"
        )))
    }

    fn message(&self) -> Result<Request<Body>, String> {
        let uri = match self.kind {
            Kind::Http2 => format!("http://{}{}", self.address, self.path),
            Kind::Http1Kept | Kind::Http1Fresh => self.path.clone(),
        };
        let request = Request::get(uri).header(HOST, self.address.to_string());
        let request = match self.kind {
            Kind::Http1Fresh => request.header(CONNECTION, "close"),
            Kind::Http1Kept | Kind::Http2 => request,
        };
        request.body(Body::new()).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        // The driver ends with its connection; what it says of its end is said by the request that suffers from it.
        Ok(match self.kind {
            Kind::Http2 => {
                let (sender, driver) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(|error| format!("handshake: {error}"))?;
                tokio::spawn(driver);
                Connection::Http2(sender)
            }
            Kind::Http1Kept | Kind::Http1Fresh => {
                let (sender, driver) = http1::handshake(io)
                    .await
                    .map_err(|error| format!("handshake: {error}"))?;
                tokio::spawn(driver);
                Connection::Http1(sender)
            }
        })
    }
}

async fn sent(result: Result<Response<Incoming>, TrySendError<Request<Body>>>) -> Sent {
    let response = match result {
        Ok(response) => response,
        Err(mut error) => {
            let left = error.take_message().is_none();
            let reason = describe(&error.into_error());
            return match (reason.ends_with(GONE_AWAY), left) {
                (true, _) => Sent::GoneAway,
                (false, true) => Sent::Failed(reason),
                (false, false) => Sent::NeverLeft,
            };
        }
    };
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Sent::Failed(format!("in the body: {}", describe(&error))),
    };
    if !head.status.is_success() {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        return Sent::Failed(format!("{} {text}", head.status));
    }
    let closes = head
        .headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    Sent::Answered { closes }
}

/// hyper's errors keep what happened in their source.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
