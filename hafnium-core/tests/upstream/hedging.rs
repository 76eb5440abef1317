//! A second attempt beside a slow first one.

use std::time::{Duration, Instant};

use hafnium_core::upstream::HedgeMode;

use crate::server::{Server, text};
use crate::{settings, upstream_of};

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
