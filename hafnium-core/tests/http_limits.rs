//! Clients that are slow, silent, gone or greedy harm nobody but themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod http_client;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hafnium_core::component::Stopped;
use hafnium_core::config::{ByteSize, Duration as Limit};
use hafnium_core::http::{HttpSettings, Server, envelope};
use hafnium_core::problem::Json;
use hafnium_core::{Context, Deadline};
use hafnium_testkit::Proxy;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use http_client::{Answer, http1, http2};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

fn routes() -> Router {
    let slow = |axum::extract::Path(millis): axum::extract::Path<u64>| async move {
        sleep(Duration::from_millis(millis)).await;
        "done"
    };
    let left = || async { Deadline::current().unwrap().remaining().as_millis().to_string() };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/raw", post(|body: String| async move { body.len().to_string() }))
        .route(
            "/json",
            post(|Json(value): Json<serde_json::Value>| async move { value.to_string() }),
        )
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .route("/megabytes", get(|| async { vec![b'x'; 4 << 20] }))
        .route("/slow/{millis}", get(slow))
        .route("/deadline", get(left))
}

fn settings() -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings
}

fn serve(settings: &HttpSettings) -> (Server, SocketAddr) {
    let cx = Context::standalone();
    let router = envelope(routes(), settings, &cx);
    let server = settings.serve(settings.bind().unwrap(), router, &cx).unwrap();
    let address = server.local_addr();
    (server, address)
}

/// Everything the server says until it closes, and how long that took.
async fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let begun = Instant::now();
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut said))
        .await
        .expect("never closed");
    (String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

async fn said(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn ask_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).unwrap();
    http_client::send(&http1(), request).await.unwrap()
}

#[tokio::test]
async fn a_client_that_goes_silent_in_the_middle_of_a_body_gets_a_408_and_is_closed() {
    let mut settings = settings();
    settings.body_timeout = Limit::from_millis(400);
    let (server, address) = serve(&settings);
    for path in ["/raw", "/json"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"a\":"
        );
        let mut stream = said(address, &head).await;
        let (answer, took) = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(
            answer.contains("application/problem+json") && answer.contains("body_timeout"),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
        // The handler has begun, and may have worked on what came.
        assert!(answer.contains(r#""outcome":"unknown""#), "{answer}");
        assert!((350..2000).contains(&took.as_millis()), "{took:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_drips_steadily_is_read_until_the_requests_own_time_is_over() {
    let mut settings = settings();
    settings.body_timeout = Limit::from_millis(300);
    settings.request_timeout = Limit::from_millis(900);
    let (_server, address) = serve(&settings);
    let stream = said(
        address,
        "POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n",
    )
    .await;
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let begun = Instant::now();
    let mut answer = [0; 1024];
    let read = reading.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        (850..3000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    drop(reading);
    dripping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_vanished_without_a_word_is_let_go_in_every_state() {
    let mut settings = settings();
    settings.header_timeout = Limit::from_millis(300);
    settings.body_timeout = Limit::from_millis(300);
    settings.idle_timeout = Limit::from_millis(300);
    settings.max_connections = 3;
    let (server, address) = serve(&settings);
    // The network swallows everything from a moment on: no FIN, no RST.
    let proxy = Proxy::start(address).unwrap();
    let mut silent = said(proxy.address(), "GET / HT").await;
    let mut halfway = said(
        proxy.address(),
        "POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc",
    )
    .await;
    let mut idle = said(proxy.address(), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    proxy.black_hole();
    // All places are taken, and each comes free again.
    let fresh = timeout(Duration::from_secs(5), async {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(http_client::get(&http1(), address, "/").await.unwrap().status);
        }
        all
    });
    assert_eq!(fresh.await.expect("the places come free"), [StatusCode::OK; 4]);
    sleep(Duration::from_secs(1)).await;
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    drop((silent.shutdown().await, halfway.shutdown().await, idle));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_gives_its_place_back() {
    let mut settings = settings();
    settings.write_timeout = Limit::from_millis(300);
    settings.header_timeout = Limit::from_millis(300);
    settings.max_connections = 1;
    let (_server, address) = serve(&settings);
    let greedy = said(address, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let served = timeout(Duration::from_secs(6), ask_with(address, "/", &[])).await;
    assert_eq!(served.expect("the place comes free").body, "hello");
    drop(greedy);
}

/// Reads to the end, a little at a time: about two seconds for 64 MiB.
async fn read_slowly(mut stream: TcpStream) -> usize {
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return read,
            more => read += more,
        }
        sleep(Duration::from_millis(25)).await;
    }
}

const LARGE: &str = "GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_slow_reader_that_goes_on_reading_gets_all_of_a_large_answer() {
    let mut settings = settings();
    settings.write_timeout = Limit::from_millis(1000);
    settings.header_timeout = Limit::from_millis(200);
    settings.idle_timeout = Limit::from_millis(200);
    let (_server, address) = serve(&settings);
    let read = read_slowly(said(address, LARGE).await).await;
    assert!(read > 64 << 20, "{read}");
}

#[tokio::test]
async fn a_drain_waits_until_the_last_byte_of_an_answer_is_taken() {
    let (server, address) = serve(&settings());
    let reading = tokio::spawn(read_slowly(said(address, LARGE).await));
    sleep(Duration::from_millis(200)).await;
    let stopped = server.drain(Deadline::after(Duration::from_secs(20))).await;
    assert_eq!(stopped, Stopped::Clean);
    let read = reading.await.unwrap();
    assert!(read > 64 << 20, "{read}");
}

/// The answer to a request over HTTP/2 with a window of 16 KiB.
async fn through_a_small_window(address: SocketAddr, path: &str) -> http::Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(16 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{address}{path}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender.send_request(request).await.unwrap()
}

/// Reads for a few seconds.
async fn read_through_a_small_window(address: SocketAddr) -> usize {
    let mut body = through_a_small_window(address, "/megabytes").await.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        sleep(Duration::from_millis(8)).await;
    }
    read
}

#[tokio::test]
async fn a_drain_waits_for_what_an_http2_client_is_still_to_open_its_window_for() {
    let (server, address) = serve(&settings());
    let reading = tokio::spawn(read_through_a_small_window(address));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.requests().len(), 1, "under way until it is taken");
    let stopped = server.drain(Deadline::after(Duration::from_secs(20))).await;
    assert_eq!(stopped, Stopped::Clean);
    assert_eq!(reading.await.unwrap(), 4 << 20);
}

#[tokio::test]
async fn at_its_age_an_http2_connection_still_gives_every_byte_of_its_answers() {
    let mut settings = settings();
    settings.max_connection_age = Limit::from_millis(300);
    settings.write_timeout = Limit::from_millis(800);
    settings.header_timeout = Limit::from_millis(100);
    let (_server, address) = serve(&settings);
    assert_eq!(read_through_a_small_window(address).await, 4 << 20);
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window_is_cut() {
    let mut settings = settings();
    settings.write_timeout = Limit::from_millis(500);
    settings.header_timeout = Limit::from_millis(200);
    let (server, address) = serve(&settings);
    let begun = Instant::now();
    let unread = through_a_small_window(address, "/megabytes").await;
    while !server.requests().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(5), "never cut");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(450),
        "{:?}",
        begun.elapsed()
    );
    unread.into_body().collect().await.unwrap_err();
}

#[tokio::test]
async fn a_head_beyond_its_limit_is_431_over_http1_and_http2() {
    let mut settings = settings();
    settings.header_limit = ByteSize::from_bytes(8192);
    let (_server, address) = serve(&settings);
    let long = "x".repeat(10_000);
    let mut stream = said(
        address,
        &format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
    )
    .await;
    let (answer, _) = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let request = Request::get(format!("http://{address}/"))
        .header("x-long", &long)
        .body(Full::default())
        .unwrap();
    let answer = http_client::send(&http2(), request).await.unwrap();
    assert_eq!(answer.status.as_u16(), 431);
    let fits = ask_with(address, "/", &[("x-long", &long[..5000])]).await;
    assert_eq!(fits.body, "hello");
}

#[tokio::test]
async fn at_its_age_a_kept_connection_is_closed_with_an_answer_and_an_http2_one_by_goaway() {
    let mut settings = settings();
    settings.max_connection_age = Limit::from_millis(600);
    let (_server, address) = serve(&settings);
    let mut kept = TcpStream::connect(address).await.unwrap();
    let mut closes = false;
    let begun = Instant::now();
    let mut answered = 0;
    while !closes {
        kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "never told");
        let mut buffer = [0; 1024];
        let read = kept.read(&mut buffer).await.unwrap();
        let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        closes = answer.contains("connection: close");
        answered += 1;
        sleep(Duration::from_millis(20)).await;
    }
    assert!(answered > 5, "{answered}");
    assert!(
        (500..2000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(rest(&mut kept).await.0, "");

    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        Request::get(format!("http://{address}{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let begun = Instant::now();
    // Longer than the connection may live: it still gets its answer.
    let answer = sender.send_request(request("/slow/1200")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    timeout(Duration::from_secs(2), connection)
        .await
        .expect("closed after its last answer")
        .unwrap()
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(sender.send_request(request("/")).await.is_err());
}

#[tokio::test]
async fn what_is_beyond_the_concurrency_and_the_queue_is_shed_with_a_503_that_says_when_to_come_back() {
    let mut settings = settings();
    settings.max_concurrent_requests = 2;
    settings.queue_timeout = Limit::from_millis(300);
    let (_server, address) = serve(&settings);
    let slow = |path: &'static str| {
        tokio::spawn(async move { http_client::get(&http1(), address, path).await.unwrap() })
    };
    let running = [slow("/slow/1000"), slow("/slow/1000")];
    sleep(Duration::from_millis(200)).await;
    let waiting = [slow("/"), slow("/")];
    sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let shed = http_client::get(&http1(), address, "/").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(150),
        "at once: {:?}",
        begun.elapsed()
    );
    assert_eq!(shed.header("retry-after"), "1");
    let problem = shed.problem(503);
    assert_eq!(
        (&problem["code"], &problem["outcome"]),
        (&"overloaded.queue_full".into(), &"not_run".into())
    );
    for one in waiting {
        let shed = one.await.unwrap();
        assert_eq!(shed.header("retry-after"), "1");
        assert_eq!(shed.problem(503)["code"], "overloaded.queue_time");
    }
    for one in running {
        assert_eq!(one.await.unwrap().body, "done", "what was begun is finished");
    }
    assert_eq!(ask_with(address, "/", &[]).await.body, "hello");
}

#[tokio::test]
async fn a_callers_own_deadline_is_kept_and_never_makes_us_work_longer() {
    let mut settings = settings();
    settings.request_timeout = Limit::from_millis(2000);
    let (_server, address) = serve(&settings);
    let left = |value: &'static str| async move {
        let answer = ask_with(address, "/deadline", &[("x-request-timeout-ms", value)]).await;
        answer.body.parse::<u64>().unwrap()
    };
    assert!((1..=700).contains(&left("700").await));
    assert!((1000..=2000).contains(&left("60000").await));
    let begun = Instant::now();
    let late = ask_with(address, "/slow/5000", &[("grpc-timeout", "300m")]).await;
    assert_eq!(late.problem(504)["code"], "deadline_exceeded");
    assert!(
        (280..1500).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    let past = ask_with(address, "/slow/5000", &[("x-request-timeout-ms", "0")]).await;
    assert_eq!(past.problem(504)["outcome"], "not_run");
}

#[tokio::test]
async fn a_refused_body_is_of_unknown_outcome_once_the_handler_has_begun_on_it() {
    let mut settings = settings();
    settings.body_limit = ByteSize::from_bytes(8);
    let (_server, address) = serve(&settings);
    let chunked = "POST /raw HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                   9\r\nxxxxxxxxx\r\n0\r\n\r\n";
    let announced =
        "POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nxxxxxxxxx";
    for (request, unknown) in [(chunked, true), (announced, false)] {
        let (answer, _) = rest(&mut said(address, request).await).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert_eq!(answer.contains(r#""outcome":"unknown""#), unknown, "{answer}");
    }
}
