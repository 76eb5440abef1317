//! A second attempt beside a slow first one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hafnium_core::Outcome;
use hafnium_core::upstream::{HedgeMode, UpstreamSettings};

use crate::server::{Server, status, text};
use crate::{is, row, settings, upstream_of};

async fn slow() -> Server {
    Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        text("slow")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_address_delays_no_idempotent_call_beyond_the_hedge() {
    let (slow, quick) = (slow().await, Server::hello().await);
    let mut settings = settings();
    settings.hedge.mode = HedgeMode::Fixed;
    settings.hedge.after = Duration::from_millis(50).into();
    let upstream = upstream_of(&[slow.address, quick.address], &settings);
    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        let begun = Instant::now();
        let answer = upstream.get("/").await.unwrap();
        assert_eq!(answer.text().unwrap(), "hello");
        slowest = slowest.max(begun.elapsed());
    }
    println!(
        "| one of two addresses takes 3 s, hedged after 50 ms | slowest GET {slowest:?} | {} requests for 40 calls |",
        slow.hits() + quick.hits()
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(slow.hits() > 0, "nothing was hedged");
    // At most one extra each: every call asked the slow one once at most.
    assert!(slow.hits() + quick.hits() <= 80);
    assert_eq!(upstream.in_flight(), 0, "the losers are dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hedge_by_the_slowest_twentieth_waits_until_enough_answers_said_how_long_they_take() {
    const STUCK: Duration = Duration::from_millis(1500);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |seen| {
        // The first of two is stuck.
        let stuck = seen.path == "/stuck" && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        async move {
            if stuck {
                tokio::time::sleep(STUCK).await;
            }
            text("ok")
        }
    })
    .await;
    let mut settings = settings();
    settings.hedge.mode = HedgeMode::P95;
    settings.hedge.after = Duration::from_millis(100).into();
    let upstream = upstream_of(&[server.address], &settings);
    let took = async |path: &str| {
        let begun = Instant::now();
        upstream.get(path).await.unwrap();
        begun.elapsed()
    };
    let alone = took("/stuck").await;
    assert!(alone >= STUCK && asked.load(Ordering::SeqCst) == 1, "{alone:?}");
    for _ in 0..40 {
        took("/").await;
    }
    asked.store(0, Ordering::SeqCst);
    let hedged = took("/stuck").await;
    assert!(
        hedged < STUCK && hedged >= settings.hedge.after.get(),
        "{hedged:?}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_are_not_hedged_and_hedges_come_from_the_retry_budget() {
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        text("slow")
    })
    .await;
    let mut settings = settings();
    settings.hedge.mode = HedgeMode::Fixed;
    settings.hedge.after = Duration::from_millis(20).into();
    settings.retry.budget.burst = 2;
    settings.retry.budget.minimum_per_second = 0;
    let upstream = upstream_of(&[slow.address], &settings);
    upstream.post("/").await.unwrap();
    assert_eq!(slow.hits(), 1);
    for _ in 0..6 {
        upstream.get("/").await.unwrap();
    }
    assert_eq!(slow.hits(), 1 + 6 + 2, "two hedges are in the budget");
}

/// A server that answers the first and the second request with a status after so many milliseconds.
async fn statuses(answers: [(u64, u16); 2]) -> (Server, UpstreamSettings) {
    let server = Server::start(move |seen| async move {
        let (millis, answer) = answers[seen.number];
        tokio::time::sleep(Duration::from_millis(millis)).await;
        status(answer)
    })
    .await;
    let mut settings = settings();
    settings.retry.max_attempts = 1;
    settings.hedge.mode = HedgeMode::Fixed;
    settings.hedge.after = Duration::from_millis(50).into();
    (server, settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_attempts_that_fail_are_unknown_if_one_of_them_is() {
    for answers in [
        [(400, 429), (0, 502)],
        [(200, 429), (500, 502)],
        [(400, 502), (0, 429)],
        [(200, 502), (500, 429)],
    ] {
        let (server, settings) = statuses(answers).await;
        let result = upstream_of(&[server.address], &settings).put("/").body("x").await;
        row("hedged, one 429 and one 502", "PUT", &result);
        is(&result, Outcome::Unknown, "upstream.502");
        assert_eq!(server.hits(), 2, "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judgement_is_unknown_while_another_attempt_is_under_way() {
    for answers in [[(3000, 200), (0, 409)], [(200, 409), (3000, 200)]] {
        let (server, settings) = statuses(answers).await;
        let result = upstream_of(&[server.address], &settings).put("/").body("x").await;
        row("hedged, one 409, the other under way", "PUT", &result);
        is(&result, Outcome::Unknown, "upstream.409");
        assert_eq!(server.hits(), 2, "{answers:?}");
    }
    let (server, settings) = statuses([(0, 409), (0, 200)]).await;
    let result = upstream_of(&[server.address], &settings).put("/").body("x").await;
    is(&result, Outcome::NotRun, "upstream.409");
}
