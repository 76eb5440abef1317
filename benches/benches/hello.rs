//! The application listener against bare `axum::serve`: hello-world over 64 kept HTTP/1.1 connections, in one process,
//! in interleaved pairs. The ratio is the median over the pairs; the interval printed is that of their middle half.
//!
//! Without `--bench` (as `cargo test` runs it) one short pair shows that both answer.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::{Router, routing::get};
use bytes::Bytes;
use hafnium_core::Context;
use hafnium_core::http::{HttpSettings, Server, envelope};
use hafnium_testkit::referee::{Figures, Row};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 64;
const TARGET: f64 = 0.95;

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (pairs, window) = if measuring {
        (9, Duration::from_secs(2))
    } else {
        (1, Duration::from_millis(100))
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut ratios = runtime.block_on(ratios(pairs, window));
    ratios.sort_by(f64::total_cmp);
    if !measuring {
        return;
    }
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    println!(
        "hello_throughput_ratio {:.3} (middle half {:.3}..{:.3}, {pairs} pairs)",
        at(0.5),
        at(0.25),
        at(0.75)
    );
    let row = Row::new(
        "hello_throughput_ratio",
        "64 connections, no telemetry",
        Some(at(0.5)),
        "ratio",
    );
    let mut figures = Figures::new("hello", 0, pairs);
    figures.add(row.at_least(TARGET).against("axum::serve with axum's defaults"));
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

fn router() -> Router {
    Router::new().route("/", get(async || "hello\n"))
}

/// Requests per second of ours divided by those of bare axum, pair by pair.
async fn ratios(pairs: u32, window: Duration) -> Vec<f64> {
    let (bare, ours) = (bare().await, ours());
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        // The order alternates, so that a drift of the machine favours neither.
        let (first, second) = if pair % 2 == 0 {
            (bare, ours.local_addr())
        } else {
            (ours.local_addr(), bare)
        };
        let (first, second) = (rate(first, window).await, rate(second, window).await);
        ratios.push(if pair % 2 == 0 {
            second / first
        } else {
            first / second
        });
    }
    ratios
}

async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router()).await });
    address
}

fn ours() -> Server {
    let context = Context::standalone();
    let mut settings = HttpSettings::default();
    settings.address = std::net::Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    let bound = settings.bind().expect("a free port");
    let router = envelope(router(), &settings, &context);
    settings.serve(bound, router, &context).expect("a listener")
}

/// Answers per second over all connections; an answer that is not 200 ends the benchmark.
async fn rate(address: SocketAddr, window: Duration) -> f64 {
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(client(address, stop.clone(), answers.clone())))
        .collect();
    let begun = Instant::now();
    tokio::time::sleep(window).await;
    stop.store(true, Ordering::Relaxed);
    let (count, took) = (answers.load(Ordering::Relaxed), begun.elapsed());
    for client in clients {
        client.await.expect("a client without an error");
    }
    assert!(count > 0, "{address} answered nothing");
    count as f64 / took.as_secs_f64()
}

async fn client(address: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicU64>) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1.1");
    tokio::spawn(connection);
    while !stop.load(Ordering::Relaxed) {
        let request = Request::get("/")
            .header("host", "bench")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let answer = send.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a body");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}
