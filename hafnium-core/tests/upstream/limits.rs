//! What is bounded: answers, places, retries, calls to what is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::config::{ByteSize, Ratio};
use hafnium_core::resilience::BreakerState;
use hafnium_core::{Classify, Deadline, Outcome};

use crate::server::{Deaf, Server, status, text};
use crate::{eventually, is, row, settings, upstream_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beyond_the_limit_is_refused_whether_it_announces_its_length_or_not() {
    use http_body_util::{BodyExt, StreamBody};
    let server = Server::start(|_| async { text(vec![b'x'; 2000]) }).await;
    let mut settings = settings();
    settings.body_limit = ByteSize::from_bytes(1000);
    let result = upstream_of(&[server.address], &settings).get("/").await;
    row("an answer larger than body_limit", "GET", &result);
    is(&result, Outcome::Unknown, "upstream.too_large");
    assert_eq!(server.hits(), 1, "it would be as large again");
    settings.body_limit = ByteSize::from_bytes(2000);
    assert!(upstream_of(&[server.address], &settings).get("/").await.is_ok());

    // Chunks without a length, from a server of axum.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(|| async {
        let chunk = || Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(vec![b'x'; 600])));
        let chunks = futures_util::stream::iter([chunk(), chunk(), chunk(), chunk()]);
        axum::body::Body::new(StreamBody::new(chunks).boxed())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let result = upstream_of(&[address], &settings).get("/").await;
    is(&result, Outcome::Unknown, "upstream.too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_beyond_the_places_is_certainly_not_run() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        text("late")
    })
    .await;
    let mut settings = settings();
    settings.bulkhead.max_concurrent = 2;
    settings.bulkhead.max_queued = 0;
    let upstream = upstream_of(&[server.address], &settings);
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(upstream.get("/").send())).collect();
    eventually("both are there", || server.hits() == 2).await;
    let result = upstream.get("/").await;
    row("no place in the bulkhead", "GET", &result);
    let error = result.unwrap_err();
    assert_eq!(
        (error.outcome(), error.fault()),
        (Outcome::NotRun, hafnium_core::Fault::Capacity)
    );
    for call in held {
        call.abort();
    }
    eventually("the places are free", || upstream.bulkhead().report().in_use == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_retries_ends_at_the_budget() {
    const CALLS: usize = 1000;
    let server = Server::start(|_| async { status(502) }).await;
    let mut settings = settings();
    settings.retry.max_attempts = 10;
    settings.retry.budget.burst = 50;
    settings.retry.budget.minimum_per_second = 0;
    let upstream = upstream_of(&[server.address], &settings);
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS / 10 {
                    assert!(upstream.get("/").await.is_err());
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let factor = server.hits() as f64 / CALLS as f64;
    println!(
        "| a storm of 502s, 10 attempts allowed | {} requests for {CALLS} calls: x {factor:.2} |",
        server.hits()
    );
    assert!(factor <= 1.2, "{factor}");
    assert!(factor > 1.0, "nothing was repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_opens_spares_the_server_and_closes_again() {
    let down = Arc::new(AtomicBool::new(true));
    let sick = down.clone();
    let server = Server::start(move |_| {
        let sick = sick.load(Ordering::SeqCst);
        async move { if sick { status(500) } else { text("well") } }
    })
    .await;
    let mut settings = settings();
    settings.breaker.minimum_calls = 10;
    settings.breaker.failure_rate = Ratio::from_percent(50);
    settings.breaker.open_for = Duration::from_millis(400).into();
    settings.breaker.probes = 1;
    let upstream = upstream_of(&[server.address], &settings);
    for _ in 0..10 {
        assert!(upstream.get("/").await.is_err());
    }
    assert_eq!(upstream.breaker().state(), BreakerState::Open);
    let before = server.hits();
    let result = upstream.post("/").within(Duration::from_millis(50)).await;
    row("the breaker is open", "POST", &result);
    is(&result, Outcome::NotRun, "breaker.open");
    assert_eq!(server.hits(), before, "it is spared");
    down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(upstream.get("/").await.is_ok());
    assert_eq!(upstream.breaker().state(), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_what_it_is_asked_works_and_opens_no_breaker() {
    let server = Server::start(|_| async { status(404) }).await;
    let mut settings = settings();
    settings.breaker.minimum_calls = 10;
    let upstream = upstream_of(&[server.address], &settings);
    for _ in 0..40 {
        assert!(upstream.get("/").await.is_err());
    }
    assert_eq!(upstream.breaker().state(), BreakerState::Closed);
    assert_eq!(upstream.breaker().report().failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_deadline_wins_and_a_wider_one_never_does() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        text("late")
    })
    .await;
    let mut settings = settings();
    settings.timeout = Duration::from_millis(3000).into();
    let upstream = upstream_of(&[server.address], &settings);
    let timed = |call: hafnium_core::upstream::Call| async move {
        let begun = std::time::Instant::now();
        is(&call.await, Outcome::Unknown, "upstream.deadline_exceeded");
        begun.elapsed()
    };
    let (own, within, task) = (
        Duration::from_millis(3000),
        Duration::from_millis(1500),
        Duration::from_millis(500),
    );
    let slack = Duration::from_millis(900);
    let took = timed(upstream.get("/")).await;
    assert!(took >= own && took < own + slack, "{took:?}");
    let took = timed(upstream.get("/").within(within)).await;
    assert!(took >= within && took < within + slack, "{took:?}");
    let took = timed(upstream.get("/").within(Duration::from_secs(9))).await;
    assert!(took >= own && took < own + slack, "a wider one: {took:?}");
    let call = upstream.get("/").within(within);
    let took = Deadline::after(task).scope(timed(call)).await;
    assert!(took >= task && took < task + slack, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_are_followed() {
    let server = Server::start(|_| async { text(vec![b'x'; 2000]) }).await;
    let mut settings = settings();
    let upstream = upstream_of(&[server.address], &settings);
    assert!(upstream.get("/").await.is_ok());
    settings.body_limit = ByteSize::from_bytes(1000);
    upstream.configure(&settings);
    is(&upstream.get("/").await, Outcome::Unknown, "upstream.too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_of_the_configuration_is_followed_while_it_runs() {
    use hafnium_core::Context;
    use hafnium_core::config::{Live, Loader, Sources};
    use hafnium_core::upstream::{Upstream, UpstreamSettings};

    let server = Server::start(|_| async { text(vec![b'x'; 2000]) }).await;
    let url = format!("http://{}", server.address);
    let loader = |limit: &str| {
        let sources = Sources::none()
            .variable("HAFNIUM__UPSTREAM__SCORING__URL", url.as_str())
            .variable("HAFNIUM__UPSTREAM__SCORING__BODY_LIMIT", limit);
        Loader::new("caller")
            .named::<UpstreamSettings>("scoring")
            .sources(sources)
    };
    let config = loader("8MiB").load().unwrap();
    let settings = config.named::<UpstreamSettings>("scoring").unwrap();
    let live = Live::new(config);
    let cx = Context::standalone().with_config(live.clone());
    let upstream = Upstream::connect("scoring", &settings, &cx).unwrap();
    assert!(upstream.get("/").await.is_ok());
    tokio::time::sleep(Duration::from_millis(50)).await;
    live.reload(&loader("1000B"));
    let mut limited = false;
    for _ in 0..200 {
        limited = upstream.get("/").await.is_err();
        if limited {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(limited);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impatient_callers_open_no_breaker_and_our_own_timeout_does() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        text("late")
    })
    .await;
    let mut settings = settings();
    settings.breaker.minimum_calls = 5;
    let patience = Duration::from_millis(30);
    let upstream = upstream_of(&[server.address], &settings);
    for _ in 0..5 {
        let call = Deadline::after(patience).scope(upstream.post("/").send());
        is(&call.await, Outcome::Unknown, "upstream.deadline_exceeded");
        let call = upstream.post("/").within(patience).await;
        is(&call, Outcome::Unknown, "upstream.deadline_exceeded");
    }
    assert_eq!(upstream.breaker().state(), BreakerState::Closed);
    assert_eq!(upstream.breaker().report().failures, 0);
    settings.timeout = patience.into();
    upstream.configure(&settings);
    for _ in 0..5 {
        // A wider one changes nothing.
        let call = Deadline::after(Duration::from_secs(9)).scope(upstream.post("/").send());
        is(&call.await, Outcome::Unknown, "upstream.deadline_exceeded");
    }
    assert_eq!(upstream.breaker().state(), BreakerState::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_connect_timeout_is_followed() {
    let deaf = Deaf::start().await;
    let mut settings = settings();
    settings.retry.max_attempts = 1;
    settings.connect_timeout = Duration::from_millis(100).into();
    let upstream = upstream_of(&[deaf.address], &settings);
    is(
        &upstream.get("/").await,
        Outcome::NotRun,
        "upstream.connect_timeout",
    );
    let longer = Duration::from_millis(600);
    settings.connect_timeout = longer.into();
    upstream.configure(&settings);
    let begun = std::time::Instant::now();
    is(
        &upstream.get("/").await,
        Outcome::NotRun,
        "upstream.connect_timeout",
    );
    assert!(begun.elapsed() >= longer, "{:?}", begun.elapsed());
}
