//! What a caller sees of each fault: the table of `docs/guides/upstream.md`.

use std::time::{Duration, Instant};

use hafnium_core::{Classify, Fault, Outcome};
use hafnium_testkit::Proxy;
use http::StatusCode;

use crate::server::{Deaf, Server, Then, nobody, raw, status, text, with};
use crate::{eventually, is, row, settings, upstream_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_certainly_not_run_and_another_address_gets_the_request_at_once() {
    let (refused, server) = (nobody().await, Server::hello().await);
    let alone = upstream_of(&[refused], &settings());
    for call in [alone.get("/"), alone.post("/").body("x")] {
        let result = call.await;
        row("connection refused, one address", "any", &result);
        is(&result, Outcome::NotRun, "upstream.connect");
        assert!(result.unwrap_err().to_string().contains(&refused.to_string()));
    }
    let mut once = settings();
    // Another address is no retry: neither attempts nor budget are needed for it.
    once.retry.max_attempts = 1;
    let both = upstream_of(&[refused, server.address], &once);
    for _ in 0..20 {
        let result = both.post("/").body("x").await;
        row("connection refused, another address", "POST", &result);
        assert!(result.is_ok());
    }
    assert_eq!(server.hits(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_takes_no_connection_costs_half_of_the_time_to_connect() {
    let (deaf, server) = (Deaf::start().await, Server::hello().await);
    let both = upstream_of(&[deaf.address, server.address], &settings());
    let begun = Instant::now();
    for _ in 0..4 {
        let result = both.post("/").body("x").await;
        row("no connection comes about, another address", "POST", &result);
        assert!(result.is_ok());
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let alone = upstream_of(&[deaf.address], &settings());
    let result = alone.post("/").within(Duration::from_millis(600)).await;
    row("no connection comes about, one address", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.deadline_exceeded");
    let mut once = settings();
    once.connect_timeout = Duration::from_millis(200).into();
    once.retry.max_attempts = 1;
    let result = upstream_of(&[deaf.address], &once).get("/").await;
    is(&result, Outcome::NotRun, "upstream.connect_timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_leaves_a_post_unknown_and_a_get_goes_elsewhere() {
    let dying = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        text("never")
    })
    .await;
    let dying_at = dying.address;
    let alone = upstream_of(&[dying_at], &settings());
    let post = tokio::spawn(alone.post("/").body("x").send());
    eventually("the request is there", || dying.hits() == 1).await;
    let healthy = Server::hello().await;
    let both = upstream_of(&[dying_at, healthy.address], &settings());
    let gets: Vec<_> = (0..8).map(|_| tokio::spawn(both.get("/").send())).collect();
    eventually("some wait there", || dying.hits() > 1).await;
    drop(dying);
    let result = post.await.unwrap();
    row("killed in the middle", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.broken");
    for get in gets {
        let result = get.await.unwrap();
        row("killed in the middle, another address", "GET", &result);
        assert!(result.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_after_it_was_sent_is_unknown_and_only_idempotent_calls_are_repeated() {
    for (fault, then) in [
        ("closed without an answer", Then::Close),
        ("reset without an answer", Then::Reset),
        ("closed within the answer", Then::Part),
        ("an answer that is no HTTP", Then::Noise),
    ] {
        let (address, hits) = raw(move |_| then).await;
        let upstream = upstream_of(&[address], &settings());
        let hits = || hits.load(std::sync::atomic::Ordering::SeqCst);
        let result = upstream.post("/").body("x").await;
        row(fault, "POST", &result);
        is(&result, Outcome::Unknown, "upstream.broken");
        assert_eq!(hits(), 1, "a POST is never repeated");
        let result = upstream.get("/").await;
        row(fault, "GET", &result);
        is(&result, Outcome::Unknown, "upstream.broken");
        assert_eq!(hits(), 4, "three attempts");
        let result = upstream.post("/").header("idempotency-key", "17").body("x").await;
        is(&result, Outcome::Unknown, "upstream.broken");
        assert_eq!(hits(), 7, "the key lets it be repeated");
        let _ = upstream.post("/").idempotent().await;
        assert_eq!(hits(), 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_swallows_everything_ends_at_the_deadline_which_says_what_was_waited_for() {
    let server = Server::hello().await;
    let proxy = Proxy::start(server.address).unwrap();
    let upstream = upstream_of(&[proxy.address()], &settings());
    assert!(upstream.get("/").await.is_ok());
    proxy.black_hole();
    for (method, call) in [("POST", upstream.post("/")), ("GET", upstream.get("/"))] {
        let begun = Instant::now();
        let result = call.within(Duration::from_millis(300)).await;
        row("black hole", method, &result);
        is(&result, Outcome::Unknown, "upstream.deadline_exceeded");
        assert!(result.unwrap_err().to_string().contains("its answer"));
        assert!(
            begun.elapsed() < Duration::from_millis(1500),
            "{:?}",
            begun.elapsed()
        );
    }
    proxy.heal();
    let result = upstream.get("/").await;
    row("black hole, healed", "GET", &result);
    assert!(result.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_attempt_gives_way_to_another_one_where_that_is_harmless() {
    let slow_first = |seen: crate::server::Seen| async move {
        if seen.number == 0 {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        text("ok")
    };
    let mut hasty = settings();
    hasty.attempt_timeout = Some(Duration::from_millis(200).into());
    let server = Server::start(slow_first).await;
    let result = upstream_of(&[server.address], &hasty).get("/").await;
    row("slow, attempt_timeout", "GET", &result);
    assert!(result.is_ok());
    assert_eq!(server.hits(), 2);
    let server = Server::start(slow_first).await;
    let result = upstream_of(&[server.address], &hasty).post("/").await;
    row("slow, attempt_timeout", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.deadline_exceeded");
    assert_eq!(server.hits(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_503_that_says_when_to_come_back_is_waited_for_and_repeated_whatever_the_method() {
    let server = Server::start(|seen| async move {
        match seen.number {
            0 => with(status(503), "retry-after", "1"),
            _ => text("ok"),
        }
    })
    .await;
    let begun = Instant::now();
    let result = upstream_of(&[server.address], &settings())
        .post("/")
        .body("x")
        .await;
    row("503 with Retry-After", "POST", &result);
    assert!(result.is_ok());
    assert_eq!(server.hits(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_status_is_an_error_with_its_body_and_its_table() {
    let server = Server::start(|seen| async move {
        match seen.path.as_str() {
            "/problem" => {
                let body = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"canary","code":"booked"}"#;
                let mut response = with(text(body), "content-type", "application/problem+json");
                *response.status_mut() = StatusCode::CONFLICT;
                response
            }
            "/not-run" => {
                let body = r#"{"status":503,"outcome":"not_run"}"#;
                let mut response = with(text(body), "content-type", "application/problem+json");
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
            path => status(path.trim_start_matches('/').parse().unwrap()),
        }
    })
    .await;
    let mut once = settings();
    once.retry.max_attempts = 1;
    let upstream = upstream_of(&[server.address], &once);
    for (code, outcome, retryable, fault) in [
        (400, Outcome::NotRun, false, Fault::Service),
        (404, Outcome::NotRun, false, Fault::Service),
        (429, Outcome::NotRun, true, Fault::Capacity),
        (500, Outcome::Unknown, false, Fault::Dependency),
        (502, Outcome::Unknown, true, Fault::Dependency),
        (503, Outcome::Unknown, true, Fault::Dependency),
        (504, Outcome::Unknown, true, Fault::Dependency),
    ] {
        let result = upstream.post(&format!("/{code}")).await;
        row(&format!("status {code}"), "POST", &result);
        let error = result.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(code));
        assert_eq!(
            (error.outcome(), error.retryable(), error.fault()),
            (outcome, retryable, fault),
            "{code}"
        );
    }
    let error = upstream.post("/problem").await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(
        (problem.code.as_deref(), problem.detail.as_deref()),
        (Some("booked"), Some("canary"))
    );
    assert!(
        error.to_string().contains("booked") && !error.to_string().contains("canary"),
        "{error}"
    );
    // What the upstream itself says of a 503 is believed.
    let error = upstream.post("/not-run").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotRun);
    let answer = upstream.get("/404").accept(StatusCode::NOT_FOUND).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_sent_once_and_never_repeated() {
    let server = Server::start(|seen| async move {
        assert_eq!(seen.body, "one two");
        status(503)
    })
    .await;
    let upstream = upstream_of(&[server.address], &settings());
    let body = || http_body_util::Full::new(bytes::Bytes::from_static(b"one two"));
    let result = upstream.put("/").stream(body()).await;
    row("503 without Retry-After, a streamed body", "PUT", &result);
    assert_eq!(
        result.unwrap_err().status(),
        Some(StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(server.hits(), 1);
    let result = upstream.put("/").body("one two").await;
    assert!(result.is_err());
    assert_eq!(server.hits(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_sent_is_the_callers_own_defect_and_shows_no_value() {
    let server = Server::hello().await;
    let upstream = upstream_of(&[server.address], &settings());
    for call in [
        upstream.get("no-slash"),
        upstream.get("/a b"),
        upstream.get("/").header("x", "canary\n"),
        upstream.get("/").header("ca nary", "x"),
        upstream
            .post("/")
            .json(&std::collections::HashMap::from([((1, 2), 3)])),
    ] {
        let result = call.await;
        is(&result, Outcome::NotRun, "upstream.request");
        let error = result.unwrap_err();
        assert_eq!(error.fault(), Fault::Service);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    assert_eq!(server.hits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_unknown_is_believed_whatever_the_status() {
    let server = Server::start(|seen| async move {
        let mut response = match seen.path.as_str() {
            "/unknown" => with(
                text(r#"{"status":408,"outcome":"unknown"}"#),
                "content-type",
                "application/problem+json",
            ),
            _ => text(""),
        };
        *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        response
    })
    .await;
    let upstream = upstream_of(&[server.address], &settings());
    let result = upstream.post("/unknown").body("x").await;
    row("408 with `outcome: unknown`", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.408");
    assert_eq!(server.hits(), 1, "a POST is not repeated");
    is(&upstream.put("/unknown").await, Outcome::Unknown, "upstream.408");
    assert_eq!(server.hits(), 4);
    let result = upstream.post("/").body("x").await;
    row("408", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.408");
    assert_eq!(server.hits(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fails_while_it_is_sent_is_unknown_and_no_fault_of_the_upstream() {
    use futures_util::stream;
    use http_body::Frame;
    let server = Server::hello().await;
    let upstream = upstream_of(&[server.address], &settings());
    let part = Ok(Frame::data(bytes::Bytes::from_static(b"a part")));
    let broken = Err(std::io::Error::other("the source is gone"));
    let body = http_body_util::StreamBody::new(stream::iter([part, broken]));
    let result = upstream.post("/").stream(body).await;
    row("a streamed body that fails", "POST", &result);
    is(&result, Outcome::Unknown, "upstream.request");
    assert_eq!(result.unwrap_err().fault(), Fault::Service);
}
