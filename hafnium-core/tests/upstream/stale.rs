//! The trap of every pool: a kept connection that the server closes just when it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hafnium_core::Outcome;

use crate::server::{Then, raw, raw_once};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_may_have_happened_is_unknown_although_the_fresh_connection_is_refused() {
    for key in [false, true] {
        let address = raw_once(|number| if number == 0 { Then::Answer } else { Then::Close }).await;
        let upstream = upstream_of(&[address], &settings());
        assert!(upstream.get("/").await.is_ok());
        let result = match key {
            false => upstream.put("/").body("x").await,
            true => upstream.post("/").header("idempotency-key", "17").body("x").await,
        };
        row("closed at its reuse, then refused", "PUT", &result);
        is(&result, Outcome::Unknown, "upstream.broken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_fresh_connection_is_kept_and_is_no_more_certain_than_the_first_one() {
    let count = Arc::new(AtomicUsize::new(0));
    let (address, _) = raw(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Then::Answer,
        1 => Then::Close,
        _ => Then::NotFound,
    })
    .await;
    let upstream = upstream_of(&[address], &settings());
    assert!(upstream.get("/").await.is_ok());
    let result = upstream.delete("/").await;
    row("closed at its reuse, then 404", "DEL", &result);
    is(&result, Outcome::Unknown, "upstream.404");
    is(&upstream.delete("/").await, Outcome::NotRun, "upstream.404");
}

/// Takes `handled` requests per connection and refuses the next ones as `how` says.
async fn refusing(handled: usize, how: Refusal) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = answered.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut number = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    number += 1;
                    if number <= handled {
                        counted.fetch_add(1, Ordering::SeqCst);
                        respond.send_response(http::Response::new(()), true).unwrap();
                    } else if let Refusal::Stream = how {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        respond.send_reset(h2::Reason::CANCEL);
                    }
                }
            });
        }
    });
    (address, answered)
}

#[derive(Clone, Copy)]
enum Refusal {
    /// By `REFUSED_STREAM`: certainly not handled.
    Stream,
    /// By `CANCEL`: nobody knows.
    Cancel,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_http2_refuses_is_certainly_not_run_and_goes_to_a_fresh_connection_whatever_the_method()
{
    let mut http2 = settings();
    http2.protocol = hafnium_core::upstream::Protocol::Http2;
    http2.retry.max_attempts = 1;
    let (address, answered) = refusing(1, Refusal::Stream).await;
    let upstream = upstream_of(&[address], &http2);
    for _ in 0..10 {
        let result = upstream.post("/").body("x").await;
        row("REFUSED_STREAM on a kept connection", "POST", &result);
        assert!(result.is_ok());
    }
    assert_eq!(answered.load(Ordering::SeqCst), 10, "each was handled once");
    let (address, _) = refusing(0, Refusal::Stream).await;
    let result = upstream_of(&[address], &http2).post("/").body("x").await;
    row("REFUSED_STREAM on a fresh connection", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.closed");
    let (address, _) = refusing(0, Refusal::Cancel).await;
    let result = upstream_of(&[address], &http2).post("/").body("x").await;
    row("a stream reset with CANCEL", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.broken");
}
