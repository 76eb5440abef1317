//! The trap of every pool: a kept connection that the server closes just when it is used.

use std::sync::atomic::Ordering;

use hafnium_core::Outcome;

use crate::server::{Then, raw};
use crate::{is, row, settings, upstream_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_fails_when_every_kept_connection_closes_at_the_moment_of_its_reuse() {
    // Each connection answers one request, and closes on the second one without an answer.
    let (address, hits) = raw(|number| if number == 0 { Then::Answer } else { Then::Close }).await;
    let mut strict = settings();
    // Neither retries nor their budget are there to help.
    strict.retry.max_attempts = 1;
    let upstream = upstream_of(&[address], &strict);
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(upstream.get("/").await.is_err());
    }
    println!("| kept connection closed at its reuse | GET | {failed} of 200 failed |");
    assert_eq!(failed, 0);
    assert!(hits.load(Ordering::SeqCst) > 250, "connections were not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_on_such_a_connection_is_unknown_and_not_repeated() {
    let (address, hits) = raw(|number| if number == 0 { Then::Answer } else { Then::Close }).await;
    let upstream = upstream_of(&[address], &settings());
    assert!(upstream.post("/").body("x").await.is_ok());
    let result = upstream.post("/").body("x").await;
    row("kept connection closed at its reuse", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.broken");
    assert_eq!(hits.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_fails_neither_when_the_close_was_seen_before_it_was_sent() {
    let (address, hits) = raw(|_| Then::AnswerAndClose).await;
    let upstream = upstream_of(&[address], &settings());
    for _ in 0..100 {
        upstream.post("/").body("x").await.unwrap();
        // The end of the stream is there before the next request.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(hits.load(Ordering::SeqCst), 100, "each came exactly once");
}
