//! An upstream against the bare client of hyper-util that is underneath it: hello-world by 64 tasks over kept HTTP/1.1
//! connections, in one process, in interleaved pairs. The ratio is the median over the pairs; the interval printed is
//! that of their middle half.
//!
//! Without `--bench` (as `cargo test` runs it) one short pair shows that both are answered.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::{Router, routing::get};
use benches::{CpuTime, Ratio, turned};
use bytes::Bytes;
use hafnium_core::Context;
use hafnium_core::upstream::{Upstream, UpstreamSettings};
use hafnium_testkit::referee::Figures;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpListener;

const TASKS: usize = 64;

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (pairs, window) = if measuring {
        (9, Duration::from_secs(2))
    } else {
        (1, Duration::from_millis(100))
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let measured = runtime.block_on(measured(pairs, window));
    if !measuring {
        return;
    }
    let ratio = Ratio::of(measured.iter().map(|[bare, ours]| ours.rate / bare.rate));
    let ratio = ratio.row("upstream_throughput_ratio", "GET hello by 64 tasks, no telemetry");
    let mut figures = Figures::new("upstream", 0, pairs);
    figures.add(ratio.against("hyper-util's legacy client"));
    for (index, case) in ["bare client", "upstream"].into_iter().enumerate() {
        let per_call = Ratio::of(measured.iter().map(|runs| runs[index].user));
        figures.add(per_call.row_in("upstream_user_time", case, "µs"));
    }
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

/// What one window showed of one client.
#[derive(Clone, Copy)]
struct Run {
    /// Answers per second over all tasks.
    rate: f64,
    /// Microseconds of user time per call, the server's included.
    user: f64,
}

/// The bare client and ours, pair by pair.
async fn measured(pairs: u32, window: Duration) -> Vec<[Run; 2]> {
    let address = server().await;
    let bare = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build::<_, Empty<Bytes>>(HttpConnector::new());
    let settings = UpstreamSettings::new(format!("http://{address}"));
    let ours =
        Upstream::connect("hello", &settings, &Context::standalone()).expect("settings that can be used");
    let url: hyper::Uri = format!("http://{address}/").parse().expect("a URL");
    let by_bare = move || {
        let (bare, url) = (bare.clone(), url.clone());
        async move {
            let answer = bare.get(url).await.expect("an answer");
            answer.into_body().collect().await.expect("a body").to_bytes()
        }
    };
    let by_ours = move || {
        let call = ours.get("/");
        async move { call.await.expect("an answer").into_bytes() }
    };
    let mut measured = Vec::new();
    for pair in 0..pairs as usize {
        let mut runs = [None; 2];
        for index in turned::<2>(pair) {
            runs[index] = Some(match index {
                0 => run(&by_bare, window).await,
                _ => run(&by_ours, window).await,
            });
        }
        measured.push(runs.map(|run| run.expect("each was measured")));
    }
    measured
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().route("/", get(async || "hello\n"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The calls of all tasks.
async fn run<F, Fut>(call: &F, window: Duration) -> Run
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Bytes> + Send + 'static,
{
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (call, stop, answers) = (call.clone(), stop.clone(), answers.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(call().await, "hello\n");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let (begun, before) = (Instant::now(), CpuTime::now().expect("/proc"));
    tokio::time::sleep(window).await;
    // A busy machine may take longer to the first answer than a short window.
    while answers.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(window).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (count, took) = (answers.load(Ordering::Relaxed), begun.elapsed());
    let used = CpuTime::now().expect("/proc").since(before);
    for task in tasks {
        task.await.expect("a task without an error");
    }
    assert!(count > 0, "nothing was answered");
    Run {
        rate: count as f64 / took.as_secs_f64(),
        user: used.user.as_secs_f64() * 1e6 / count as f64,
    }
}
