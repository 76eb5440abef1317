//! The application listener against bare `axum::serve` with axum's defaults: hello-world over 64 kept HTTP/1.1
//! connections, all in one process, in interleaved rounds. A ratio is the median over the rounds; the interval printed is
//! that of their middle half.
//!
//! * `hello_throughput_ratio`, `hello_p99_ratio`: the listener alone (limits of connections, activity, drain).
//! * `hello_layers_ratio`: with everything around the handler (id, deadline, turn, limit of the body, panics,
//!   compression, problems, probes). No telemetry.
//!
//! The clients are lean: they send the same bytes again and again and read as many as the first answer had, so that most
//! of what is measured is the server. Without `--bench` (as `cargo test` runs it) one short round shows that all answer.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::{Router, routing::get};
use hafnium_core::Context;
use hafnium_core::admin::Probes;
use hafnium_core::http::{HttpSettings, Server, envelope, mount_probes};
use hafnium_core::lifecycle::Progress;
use hafnium_testkit::referee::{Figures, Row};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const CONNECTIONS: usize = 64;
const AGAINST: &str = "axum::serve with axum's defaults";

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (rounds, window) = if measuring {
        (15, Duration::from_secs(2))
    } else {
        (1, Duration::from_millis(100))
    };
    let servers = Runtime::new().expect("a runtime");
    let bare = servers.block_on(bare());
    let (_listener, listener) = servers.block_on(async { ours(&Context::standalone(), router()) });
    let (_layered, layered) = servers.block_on(layered());
    let mut measured = Vec::new();
    if measuring {
        for address in [bare, listener, layered] {
            measure(address, window);
        }
    }
    for round in 0..rounds {
        // The order turns, so that a drift of the machine favours none.
        let mut order = [0, 1, 2];
        order.rotate_left(round % 3);
        let mut runs = [None, None, None];
        for index in order {
            runs[index] = Some(measure([bare, listener, layered][index], window));
        }
        measured.push(runs.map(|run| run.expect("each was measured")));
    }
    let ratio = |of: fn(&[Run; 3]) -> f64| Ratio::of(measured.iter().map(of).collect());
    let ratios = [
        (
            "hello_throughput_ratio",
            ratio(|[bare, ours, _]| ours.rate / bare.rate),
        ),
        ("hello_p99_ratio", ratio(|[bare, ours, _]| ours.p99 / bare.p99)),
        (
            "hello_layers_ratio",
            ratio(|[bare, _, layered]| layered.rate / bare.rate),
        ),
    ];
    if !measuring {
        return;
    }
    let mut figures = Figures::part("core", "http", 0, u32::try_from(rounds).unwrap_or(u32::MAX));
    for (name, ratio) in ratios {
        println!("{name} {ratio} ({rounds} rounds)");
        let row = Row::new(
            name,
            format!("{CONNECTIONS} connections"),
            Some(ratio.median),
            "ratio",
        );
        let row = match name {
            "hello_throughput_ratio" => row.at_least(0.95),
            "hello_p99_ratio" => row.at_most(1.1),
            _ => row.at_least(0.85),
        };
        figures.add(row.against(AGAINST));
    }
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

/// A ratio over all rounds.
struct Ratio {
    median: f64,
    /// The middle half.
    from: f64,
    to: f64,
}

impl Ratio {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| rounds[((rounds.len() - 1) as f64 * share).round() as usize];
        Self {
            median: at(0.5),
            from: at(0.25),
            to: at(0.75),
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.3} (middle half {:.3}..{:.3})",
            self.median, self.from, self.to
        )
    }
}

fn router() -> Router {
    Router::new().route("/", get(async || "hello\n"))
}

async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router()).await });
    address
}

fn settings() -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings
}

fn ours(context: &Context, router: Router) -> (Server, SocketAddr) {
    let settings = settings();
    let bound = settings.bind().expect("a free port");
    let server = settings.serve(bound, router, context).expect("a listener");
    let address = server.local_addr();
    (server, address)
}

async fn layered() -> (Server, SocketAddr) {
    let context = Context::standalone();
    let router = envelope(router(), &settings(), &context);
    let router = mount_probes(router, &Probes::new(&context, &Progress::new()));
    ours(&context, router)
}

/// What one window showed of one server.
#[derive(Clone, Copy)]
struct Run {
    /// Answers per second.
    rate: f64,
    /// Microseconds.
    p99: f64,
}

/// Loads a server for that long from a thread of its own; an answer that is not the first one's like ends the benchmark.
fn measure(address: SocketAddr, window: Duration) -> Run {
    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    clients.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(address).await);
        }
        let begun = Instant::now();
        let clients: Vec<_> = connections
            .into_iter()
            .map(|connection| tokio::spawn(connection.load(stop.clone())))
            .collect();
        tokio::time::sleep(window).await;
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
        for client in clients {
            latencies
                .add(client.await.expect("a client without an error"))
                .expect("the same kind");
        }
        assert!(!latencies.is_empty(), "{address} answered nothing");
        Run {
            rate: latencies.len() as f64 / begun.elapsed().as_secs_f64(),
            p99: latencies.value_at_quantile(0.99) as f64,
        }
    })
}

struct Connection {
    stream: TcpStream,
    /// Bytes of an answer.
    length: usize,
}

impl Connection {
    /// The first answer shows how long all are.
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut connection = Self { stream, length: 0 };
        connection.send().await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhello\n") {
            let read = connection.stream.read_buf(&mut answer).await.expect("an answer");
            assert!(read > 0, "{address} closed the connection");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
        connection.length = answer.len();
        connection
    }

    async fn send(&mut self) {
        let request = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
        self.stream.write_all(request).await.expect("a request");
    }

    async fn load(mut self, stop: Arc<AtomicBool>) -> Histogram<u64> {
        let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
        let mut answer = vec![0; self.length];
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            self.send().await;
            self.stream.read_exact(&mut answer).await.expect("an answer");
            assert!(answer.ends_with(b"hello\n"), "answers differ in length");
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            latencies.record(took.max(1)).expect("within bounds");
        }
        latencies
    }
}
