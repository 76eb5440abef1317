//! The application listener against bare `axum::serve` with axum's defaults: hello-world over 64 kept HTTP/1.1
//! connections. All servers are in one process and runtime, the load comes from another process, in interleaved rounds.
//! A ratio is the median over the rounds; the interval is that of their middle half.
//!
//! * `hello_throughput_ratio`, `hello_p99_ratio`: the listener alone (limits of connections, activity, drain).
//! * `hello_envelope_ratio`: with everything the core puts around the handler (id, deadline, turn, limit of the body,
//!   panics, compression, problems, probes).
//! * `hello_layers_ratio`: all that a service has, request telemetry too: a span, metrics, and a log line as JSON per
//!   request, under the subscriber of production, with no collector to export traces to. Lines are written to
//!   `/dev/null`: what a collector of lines costs is not ours.
//! * `hello_user_time`: processor time in user mode per request. Other work on the machine hardly moves it, unlike rates.
//!
//! The subscriber is the process's, so that the bare server has it too; it logs nothing. Without `--bench` (as
//! `cargo test` runs it) one short round shows that all answer.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::{Router, routing::get};
use benches::{CONNECTIONS, CpuTime, Load, Ratio, turned};
use hafnium_core::admin::Probes;
use hafnium_core::health::Registry;
use hafnium_core::http::{EnvelopeLayer, HttpSettings, Server, envelope, mount_probes};
use hafnium_core::lifecycle::{Lifecycle, Progress};
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, ServiceInfo};
use hafnium_telemetry::{Telemetry, TelemetrySettings};
use hafnium_testkit::referee::Figures;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const AGAINST: &str = "axum::serve with axum's defaults";

fn main() {
    if let Some(load) = Load::serve_as_child().expect("a server that answers") {
        println!("{}", load.line());
        return;
    }
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (rounds, window) = if measuring {
        (15, Duration::from_millis(1500))
    } else {
        (1, Duration::from_millis(100))
    };
    let runtime = Runtime::new().expect("a runtime");
    let servers = runtime.block_on(Servers::start());
    if measuring {
        for address in servers.addresses {
            Run::of(address, window);
        }
    }
    let measured: Vec<[Run; 4]> = (0..rounds).map(|round| servers.round(round, window)).collect();
    if !measuring {
        return;
    }
    let mut figures = Figures::part("core", "http", 0, u32::try_from(rounds).unwrap_or(u32::MAX));
    let case = format!("{CONNECTIONS} connections");
    let ratio = |of: fn(&[Run; 4]) -> f64| Ratio::of(measured.iter().map(of));
    let throughput = ratio(|[bare, listener, ..]| listener.load.rate / bare.load.rate);
    let throughput = throughput.row("hello_throughput_ratio", &case);
    figures.add(throughput.at_least(0.95).against(AGAINST));
    let p99 = ratio(|[bare, listener, ..]| listener.load.p99 / bare.load.p99);
    let p99 = p99.row("hello_p99_ratio", &case);
    figures.add(p99.at_most(1.1).against(AGAINST));
    let envelope = ratio(|[bare, _, envelope, _]| envelope.load.rate / bare.load.rate);
    let envelope = envelope.row("hello_envelope_ratio", &case);
    figures.add(envelope.against(AGAINST));
    let layers = ratio(|[bare, .., layers]| layers.load.rate / bare.load.rate);
    let layers = layers.row("hello_layers_ratio", &case);
    figures.add(layers.at_least(0.85).against(AGAINST));
    for (index, case) in CASES.into_iter().enumerate() {
        let per_request = Ratio::of(measured.iter().map(|runs| runs[index].user));
        figures.add(per_request.row_in("hello_user_time", case, "µs"));
    }
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

const CASES: [&str; 4] = ["bare axum::serve", "listener", "with envelope", "all layers"];

/// One of each case, served until they are dropped.
struct Servers {
    addresses: [SocketAddr; 4],
    _served: [Server; 3],
    _telemetry: Telemetry,
    _lifecycle: Lifecycle,
}

impl Servers {
    async fn start() -> Self {
        let info = ServiceInfo::new("bench", "0");
        let null = OpenOptions::new()
            .write(true)
            .open("/dev/null")
            .expect("/dev/null");
        let (telemetry, dispatch) =
            Telemetry::detached(&TelemetrySettings::default(), &info, null).expect("telemetry");
        tracing::dispatcher::set_global_default(dispatch).expect("no other subscriber");
        let lifecycle = Lifecycle::new();
        let context = Context::new(
            info,
            Registry::new(),
            telemetry.metrics(),
            telemetry.propagation(),
            Tasks::new(),
            lifecycle.watch(),
        );
        let probes = Probes::new(&context, &Progress::new());
        let enveloped = envelope(router(), &settings(), &context);
        // As a service puts them together.
        let layered = router().layer((
            telemetry.request_layer(),
            EnvelopeLayer::new(&settings(), &context),
        ));
        let served = [
            router(),
            mount_probes(enveloped, &probes),
            mount_probes(layered, &probes),
        ]
        .map(|router| serve(&context, router));
        let [listener, envelope, layers] = [0, 1, 2].map(|index: usize| served[index].local_addr());
        Self {
            addresses: [bare().await, listener, envelope, layers],
            _served: served,
            _telemetry: telemetry,
            _lifecycle: lifecycle,
        }
    }

    /// Each once; the order turns.
    fn round(&self, round: usize, window: Duration) -> [Run; 4] {
        let mut runs = [None; 4];
        for index in turned::<4>(round) {
            runs[index] = Some(Run::of(self.addresses[index], window));
        }
        runs.map(|run| run.expect("each was measured"))
    }
}

/// What one window showed of one server.
#[derive(Clone, Copy)]
struct Run {
    load: Load,
    /// Microseconds of user time per request.
    user: f64,
}

impl Run {
    fn of(address: SocketAddr, window: Duration) -> Self {
        let before = CpuTime::now().expect("/proc");
        let load = Load::on(address, window).expect("a server that answers");
        let used = CpuTime::now().expect("/proc").since(before);
        let user = used.user.as_secs_f64() * 1e6 / load.answers as f64;
        Self { load, user }
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

fn serve(context: &Context, router: Router) -> Server {
    let settings = settings();
    let bound = settings.bind().expect("a free port");
    settings.serve(bound, router, context).expect("a listener")
}
