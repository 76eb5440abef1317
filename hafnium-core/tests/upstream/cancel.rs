//! A call that is dropped, wherever it is.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::resilience::BreakerState;
use hafnium_core::upstream::{HedgeMode, Upstream};

use crate::server::{Server, nobody, status, text, with};
use crate::{Names, eventually, settings, upstream_by};

/// Polls `future` up to `polls` times, each when it is woken, and drops it then. True if it ended before.
async fn dropped_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let mut polled = false;
        let ended = std::future::poll_fn(|cx: &mut TaskContext<'_>| {
            if std::mem::replace(&mut polled, true) {
                // It was woken: the next poll is the next turn of the loop.
                return Poll::Ready(false);
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if ended {
            return true;
        }
    }
    false
}

async fn nothing_is_held(upstream: &Upstream, cx: &Context, after: usize) {
    assert_eq!(
        upstream.bulkhead().report().in_use,
        0,
        "dropped after {after} polls"
    );
    assert_eq!(
        upstream.bulkhead().report().queued,
        0,
        "dropped after {after} polls"
    );
    assert_eq!(upstream.in_flight(), 0, "dropped after {after} polls");
    eventually("no connection is in use", || {
        let report = cx.topology().report();
        report[0]
            .view
            .nodes
            .iter()
            .all(|node| node.pool.is_some_and(|pool| pool.in_use == 0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_dropped_at_any_await_gives_everything_back() {
    // Refused, then 503 with a pause, a retry, a slow answer that is hedged, and its body: each of its awaits is met.
    let server = Server::start(|seen| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        match seen.number % 2 {
            0 => with(status(503), "retry-after", "0"),
            _ => text(vec![b'x'; 300_000]),
        }
    })
    .await;
    let refused = nobody().await;
    let mut settings = settings();
    settings.hedge.mode = HedgeMode::Fixed;
    settings.hedge.after = Duration::from_millis(2).into();
    settings.retry.max_attempts = 5;
    settings.retry.budget.minimum_per_second = 1000;
    settings.ejection.failures = 1_000_000;
    let cx = Context::standalone();
    let upstream = upstream_by(Names::of(&[refused, server.address]), &settings, &cx);
    let mut ended = 0;
    for polls in 0..60 {
        if dropped_after(polls, upstream.get("/").send()).await {
            ended += 1;
        }
        nothing_is_held(&upstream, &cx, polls).await;
    }
    println!("| dropped after 0 to 59 polls | {ended} of 60 had ended before | nothing is held |");
    assert!(ended > 3 && ended < 58, "{ended}");
    assert!(upstream.get("/").await.is_ok(), "it works on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_and_a_probe_that_are_dropped_let_the_next_one_through() {
    let server = Server::start(|seen| async move {
        if seen.path == "/slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        match seen.path.as_str() {
            "/fail" => status(500),
            _ => text("ok"),
        }
    })
    .await;
    let other = Server::hello().await;
    let mut settings = settings();
    settings.ejection.time = Duration::from_millis(100).into();
    settings.ejection.failures = 1;
    settings.breaker.minimum_calls = 4;
    settings.breaker.open_for = Duration::from_millis(100).into();
    settings.breaker.probes = 1;
    let cx = Context::standalone();
    let upstream = upstream_by(Names::of(&[server.address, other.address]), &settings, &cx);
    for _ in 0..20 {
        if upstream.breaker().state() == BreakerState::Open {
            break;
        }
        let _ = upstream.get("/fail").await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    // Whatever became of the breaker: the address is due for its trial, and this call is it.
    let trial = tokio::spawn(upstream.get("/slow").send());
    eventually("the trial is there", || server.hits() > 1 || other.hits() > 0).await;
    trial.abort();
    let _ = trial.await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    for _ in 0..20 {
        upstream.get("/").await.unwrap();
    }
    assert_eq!(upstream.breaker().state(), BreakerState::Closed);
    eventually("the address is back", || {
        let view = cx.topology().report().remove(0).view;
        view.nodes.iter().all(|node| node.state.as_str() == "up")
    })
    .await;
}
