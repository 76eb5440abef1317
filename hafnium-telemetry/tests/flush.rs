//! The last span, metric and line are delivered, from a task of every kind of runtime, and never beyond the deadline.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "otlp")]

mod support;

use std::time::{Duration, Instant};

use hafnium_core::{Deadline, ServiceInfo, Stopped};
use hafnium_telemetry::Telemetry;
use support::{Collector, Lines, settings};
use tokio::runtime::{Builder, Runtime};
use tracing::instrument::WithSubscriber;

const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

/// What one run saw.
struct Run {
    stopped: Stopped,
    took: Duration,
    lines: Lines,
}

/// Records one of each signal in a task of `runtime` and shuts telemetry down in the same task.
fn run(runtime: &Runtime, collector: &Collector, limit: Duration) -> Run {
    let lines = Lines::default();
    let service = ServiceInfo::new("flush-test", "1.2.3");
    let (telemetry, dispatch) =
        Telemetry::detached(&settings(Some(&collector.endpoint)), &service, lines.clone()).unwrap();
    let task = async move {
        telemetry.metrics().counter("test.work", "{item}", "Work").add(1);
        tracing::info_span!("the last span").in_scope(|| tracing::info!("the last line"));
        let begun = Instant::now();
        let stopped = telemetry.shutdown(Deadline::after(limit)).await;
        let took = begun.elapsed();
        if stopped == Stopped::Clean {
            // Once more is no error: there is nothing left to deliver.
            assert_eq!(telemetry.shutdown(Deadline::after(limit)).await, Stopped::Clean);
        }
        // The operator listener closes last, so what it serves must outlive the flush.
        assert!(telemetry.render_prometheus().contains("test_work_total 1"));
        (stopped, took)
    };
    let task = runtime.block_on(async { tokio::spawn(task.with_subscriber(dispatch)).await });
    let (stopped, took) = task.unwrap();
    Run { stopped, took, lines }
}

fn delivers_everything(runtime: &Runtime) {
    let collector = Collector::healthy();
    let run = run(runtime, &collector, Duration::from_secs(3));
    assert_eq!(run.stopped, Stopped::Clean);
    assert!(run.took < Duration::from_secs(2), "took {:?}", run.took);
    for needle in ["the last span", "flush-test", "1.2.3"] {
        assert!(
            collector.received(TRACES, needle.as_bytes()),
            "{needle:?} is not in the traces"
        );
    }
    assert!(collector.received(METRICS, b"test.work"));
    let line = run.lines.with_message("the last line");
    // The line and the span that arrived belong to the same trace.
    let id = line["trace_id"].as_str().unwrap();
    let id: Vec<u8> = (0..id.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(id.len(), 16);
    assert!(collector.received(TRACES, &id));
}

#[test]
fn a_current_thread_runtime_delivers_the_last_span() {
    delivers_everything(&current_thread());
}

#[test]
fn a_runtime_of_one_worker_delivers_the_last_span() {
    delivers_everything(&multi_thread(1));
}

#[test]
fn a_runtime_of_four_workers_delivers_the_last_span() {
    delivers_everything(&multi_thread(4));
}

#[test]
fn a_silent_collector_costs_one_deadline_for_all_signals_in_every_runtime() {
    let limit = Duration::from_millis(1500);
    for (name, runtime) in [
        ("current_thread", current_thread()),
        ("one worker", multi_thread(1)),
        ("four workers", multi_thread(4)),
    ] {
        let run = run(&runtime, &Collector::silent(), limit);
        assert_eq!(run.stopped.stragglers(), ["traces", "metrics"], "{name}");
        assert!(
            run.took >= limit,
            "{name}: {:?} was too short to have tried",
            run.took
        );
        assert!(
            run.took < limit + Duration::from_secs(1),
            "{name}: took {:?}",
            run.took
        );
        // Logs are independent of the collector, and what is said after the shutdown is written too.
        run.lines.with_message("the last line");
        run.lines
            .with_message("telemetry was not wholly delivered by the deadline");
    }
}

#[test]
fn what_a_collector_that_refuses_loses_is_counted() {
    // A port that was free a moment ago, and that nothing listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let lines = Lines::default();
    let service = ServiceInfo::new("flush-test", "1.2.3");
    let (telemetry, dispatch) = Telemetry::detached(&settings(Some(&endpoint)), &service, lines).unwrap();
    let runtime = current_thread();
    for _ in 0..3 {
        tracing::dispatcher::with_default(&dispatch, || tracing::info_span!("lost").in_scope(|| ()));
        let stopped = runtime.block_on(telemetry.flush(Deadline::after(Duration::from_secs(10))));
        assert!(stopped.stragglers().contains(&"traces".to_owned()), "{stopped:?}");
    }
    let text = telemetry.render_prometheus();
    assert!(
        text.contains("hafnium_telemetry_dropped_total{signal=\"traces\"} 3"),
        "{text}"
    );
}

#[test]
fn a_collector_that_is_gone_never_holds_up_the_work_nor_the_drop() {
    let collector = Collector::silent();
    let service = ServiceInfo::new("flush-test", "1.2.3");
    let mut settings = settings(Some(&collector.endpoint));
    settings.span_interval = hafnium_core::config::Duration::from_millis(1);
    settings.span_queue = 100;
    let (telemetry, dispatch) = Telemetry::detached(&settings, &service, Lines::default()).unwrap();
    let begun = Instant::now();
    tracing::dispatcher::with_default(&dispatch, || {
        for _ in 0..20_000 {
            tracing::info_span!("work").in_scope(|| ());
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "took {:?}",
        begun.elapsed()
    );
    let text = telemetry.render_prometheus();
    let dropped = text
        .lines()
        .find_map(|line| line.strip_prefix("hafnium_telemetry_dropped_total{signal=\"traces\"} "))
        .unwrap_or_else(|| panic!("no drops in {text}"));
    assert!(dropped.parse::<u64>().unwrap() > 15_000, "{dropped}");
    let begun = Instant::now();
    drop((telemetry, dispatch));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "the drop took {:?}",
        begun.elapsed()
    );
}
