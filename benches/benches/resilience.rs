//! What retry, breaker and bulkhead cost around a call that succeeds at once: nanoseconds per call, and a ratio against
//! tower's own part where it has one. Uncontended, on one thread, in interleaved pairs; the ratio is the median over
//! the pairs, the interval that of their middle half.
//!
//! Without `--bench` (as `cargo test` runs it) a few calls show that every candidate answers.
#![allow(clippy::print_stdout, reason = "a benchmark prints its ratio")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that can't run has nothing better to do"
)]

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use benches::{Ratio, turned};
use hafnium_core::DeadlineExceeded;
use hafnium_core::resilience::{
    Breaker, BreakerSettings, Bulkhead, BulkheadSettings, RetryPolicy, RetrySettings,
};
use hafnium_testkit::referee::{Figures, Row};
use tower::limit::ConcurrencyLimit;
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, Retry};
use tower::{Layer, Service, ServiceExt};

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (pairs, calls) = if measuring { (11, 200_000) } else { (1, 1_000) };
    // Timers are asked by the bulkhead only when it waits, and by the breaker's clock.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let rows = runtime.block_on(rows(pairs, calls));
    if !measuring {
        return;
    }
    let mut figures = Figures::new("resilience", 0, pairs);
    for row in rows {
        figures.add(row);
    }
    println!("{figures}");
    figures.write().expect("target/figures can be written");
}

async fn rows(pairs: u32, calls: u32) -> Vec<Row> {
    let breaker = Breaker::new("bench", &BreakerSettings::default());
    let retry = RetryPolicy::new("bench", &RetrySettings::default());
    let bulkhead = Bulkhead::new("bench", &BulkheadSettings::default());
    let mut rows = Vec::new();

    let bare = nanos(calls, || call(black_box(1))).await;
    rows.push(Row::new(
        "bare_call_ns",
        "a future that is ready",
        Some(bare),
        "ns",
    ));
    let ns = nanos(calls, || breaker.call(call(black_box(1)))).await;
    rows.push(Row::new("breaker_call_ns", "function, closed", Some(ns), "ns"));
    let ns = nanos(calls, || retry.run(|| call(black_box(1)))).await;
    rows.push(Row::new(
        "retry_run_ns",
        "function, first attempt succeeds",
        Some(ns),
        "ns",
    ));
    let ns = nanos(calls, || bulkhead.run(call(black_box(1)))).await;
    rows.push(Row::new(
        "bulkhead_run_ns",
        "function, a free place",
        Some(ns),
        "ns",
    ));

    let towers = ConcurrencyLimit::new(Echo, 64);
    let ours = bulkhead.layer().layer(Echo);
    let measured = ratio(pairs, calls, &towers, &ours).await;
    rows.push(shown("bulkhead_layer_ratio", measured).against("tower::limit::ConcurrencyLimit"));

    let towers = Retry::new(Budgeted::new(), Echo);
    let ours = retry.layer().layer(Echo);
    let measured = ratio(pairs, calls, &towers, &ours).await;
    rows.push(shown("retry_layer_ratio", measured).against("tower::retry::Retry with a TpsBudget"));

    // tower has no breaker; the nearest that takes a place and gives it back is its limit.
    let towers = ConcurrencyLimit::new(Echo, 64);
    let ours = breaker.layer().layer(Echo);
    let measured = ratio(pairs, calls, &towers, &ours).await;
    rows.push(shown("breaker_layer_ratio", measured).against("tower::limit::ConcurrencyLimit"));
    rows
}

fn shown(name: &str, ratio: Ratio) -> Row {
    ratio.row(name, "time per call, ours divided by theirs")
}

fn call(number: u64) -> Ready<Result<u64, DeadlineExceeded>> {
    ready(Ok(number))
}

async fn nanos<F, Fut, T, E>(calls: u32, mut one: F) -> f64
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    for _ in 0..calls {
        assert!(black_box(one().await).is_ok());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// Time per call of `ours` divided by that of `theirs`.
async fn ratio<A, B>(pairs: u32, calls: u32, theirs: &A, ours: &B) -> Ratio
where
    A: Service<u64, Response = u64> + Clone,
    B: Service<u64, Response = u64> + Clone,
{
    let mut ratios = Vec::new();
    for pair in 0..pairs as usize {
        let mut times = [0.0; 2];
        for index in turned::<2>(pair) {
            times[index] = match index {
                0 => served(calls, theirs.clone()).await,
                _ => served(calls, ours.clone()).await,
            };
        }
        ratios.push(times[1] / times[0]);
    }
    Ratio::of(ratios)
}

async fn served<S: Service<u64, Response = u64>>(calls: u32, mut service: S) -> f64 {
    let begun = Instant::now();
    for _ in 0..calls {
        let Ok(ready) = service.ready().await else {
            panic!("not ready");
        };
        assert!(matches!(black_box(ready.call(black_box(1)).await), Ok(1)));
    }
    // A clock that stands still would divide by zero.
    begun.elapsed().max(Duration::from_nanos(1)).as_nanos() as f64 / f64::from(calls)
}

/// Gives back what it is given.
#[derive(Clone)]
struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = DeadlineExceeded;
    type Future = Ready<Result<u64, DeadlineExceeded>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DeadlineExceeded>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, number: u64) -> Self::Future {
        call(number)
    }
}

/// What a user of tower's retry writes: a budget, and every error is repeated.
#[derive(Clone)]
struct Budgeted(Arc<TpsBudget>);

impl Budgeted {
    fn new() -> Self {
        Self(Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.1)))
    }
}

impl<E> Policy<u64, u64, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Ready<()>> {
        match result {
            Ok(_) => {
                self.0.deposit();
                None
            }
            Err(_) => self.0.withdraw().then(|| ready(())),
        }
    }

    fn clone_request(&mut self, number: &u64) -> Option<u64> {
        Some(*number)
    }
}
