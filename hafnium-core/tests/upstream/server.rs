//! Servers that do what a test asks for.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as a handler sees it.
pub(crate) struct Seen {
    /// Counts from 0.
    pub(crate) number: usize,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that is killed when it is dropped: its listener and every connection are closed at once.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    hits: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// On 127.0.0.1 and a free port.
    pub(crate) async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Seen) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    pub(crate) async fn at<F, Fut>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Seen) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicUsize::new(0));
        let counted = hits.clone();
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.spawn(serve(stream, handler.clone(), counted.clone()));
            }
        });
        Self { address, hits, task }
    }

    /// Answers 200 with its own address.
    pub(crate) async fn hello() -> Self {
        Self::named("hello").await
    }

    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { text(name) }).await
    }

    /// How many requests came.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve<S, F, Fut>(stream: S, handler: F, hits: Arc<AtomicUsize>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    F: Fn(Seen) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, number) = (handler.clone(), hits.fetch_add(1, Ordering::SeqCst));
        async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            let seen = Seen {
                number,
                method: head.method,
                path: head
                    .uri
                    .path_and_query()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                headers: head.headers,
                body,
            };
            Ok::<_, Infallible>(handler(seen).await)
        }
    });
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(crate) fn text(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}

pub(crate) fn status(status: u16) -> Response<Full<Bytes>> {
    let mut response = text("");
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn with(
    mut response: Response<Full<Bytes>>,
    name: &'static str,
    value: &'static str,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// What a raw server does with a connection once a whole head has come.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Answers 200 and keeps the connection.
    Answer,
    /// Answers 200 and closes it, without having said so.
    AnswerAndClose,
    /// Closes it without an answer.
    Close,
    /// Resets it without an answer.
    Reset,
    /// Sends a part of an answer and closes it.
    Part,
    /// Says what is no HTTP.
    Noise,
    /// Answers 404 and keeps the connection.
    NotFound,
}

/// A server of HTTP/1.1 by hand: `script` says what follows the request of that number on its connection.
pub(crate) async fn raw(
    script: impl Fn(usize) -> Then + Clone + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(by_hand(stream, script.clone(), counted.clone()));
        }
    });
    (address, hits)
}

/// The same for one connection: nobody listens any more once it is taken.
pub(crate) async fn raw_once(script: impl Fn(usize) -> Then + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        by_hand(stream, script, Arc::default()).await;
    });
    address
}

async fn by_hand(mut stream: TcpStream, script: impl Fn(usize) -> Then, hits: Arc<AtomicUsize>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for number in 0.. {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut some = [0; 4096];
            match stream.read(&mut some).await {
                Ok(0) | Err(_) => return,
                Ok(count) => head.extend_from_slice(&some[..count]),
            }
        }
        hits.fetch_add(1, Ordering::SeqCst);
        match script(number) {
            Then::Answer => stream.write_all(ANSWER).await.unwrap(),
            Then::NotFound => stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap(),
            Then::AnswerAndClose => {
                stream.write_all(ANSWER).await.unwrap();
                return;
            }
            Then::Close => return,
            Then::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Then::Part => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nhalf")
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                return;
            }
            Then::Noise => {
                stream
                    .write_all(b"\x00\x01 this is no HTTP\r\n\r\n")
                    .await
                    .unwrap();
                return;
            }
        }
    }
}

/// An address that takes no connection and refuses none: the queue of its listener is full.
pub(crate) struct Deaf {
    pub(crate) address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _waiting: Vec<std::net::TcpStream>,
}

impl Deaf {
    pub(crate) async fn start() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 64, "the queue does not fill");
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
