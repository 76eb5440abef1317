//! All parts around one call, in the order that the documentation gives.

use std::sync::atomic::{AtomicU32, Ordering};

use hafnium_core::resilience::{Breaker, BreakerState, Bulkhead, CallError, RetryPolicy};
use hafnium_core::{Classify, Deadline};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{Failed, Strict, attempts, millis, places, refused, seconds, touchy};

#[tokio::test(start_paused = true)]
async fn bulkhead_around_retry_around_breaker_as_functions() {
    let (bulkhead, breaker) = (Bulkhead::new("d", &places(4, 4)), Breaker::new("d", &touchy()));
    let retry = RetryPolicy::new("d", &attempts(5));
    let made = AtomicU32::new(0);
    let call = || {
        bulkhead.run(retry.run(|| {
            breaker.call(async {
                made.fetch_add(1, Ordering::Relaxed);
                Err::<u32, _>(refused(1))
            })
        }))
    };
    // The second failure opens the breaker; its five seconds are longer than a retry waits.
    let error = call().await.map_err(CallError::flatten).unwrap_err();
    assert_eq!(error.code(), "breaker.open");
    assert_eq!(made.load(Ordering::Relaxed), 2);
    let begun = Instant::now();
    assert!(call().await.is_err());
    assert_eq!(
        (made.load(Ordering::Relaxed), begun.elapsed()),
        (2, millis(0)),
        "it fails fast"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_as_layers() {
    let mut settings = touchy();
    settings.minimum_calls = 3;
    let (bulkhead, breaker) = (Bulkhead::new("d", &places(1, 4)), Breaker::new("d", &settings));
    let strict = Strict::answering([Err(refused(1)), Ok(7)]);
    let service = ServiceBuilder::new()
        .layer(bulkhead.layer())
        .layer(RetryPolicy::new("d", &attempts(3)).layer())
        .layer(breaker.layer())
        .service(strict.clone());
    assert_eq!(service.oneshot(1).await.map_err(CallError::flatten), Ok(7));
    assert_eq!(strict.seen.lock().unwrap().called, 2);
    assert_eq!(
        (breaker.state(), breaker.report().failures),
        (BreakerState::Closed, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_answers_nothing_opens_the_breaker_through_the_limit_of_each_attempt() {
    let breaker = Breaker::new("d", &touchy());
    let hang = || async {
        let answer = std::future::pending::<Result<u32, Failed>>();
        Deadline::nearest(seconds(1)).bound("an answer", answer).await
    };
    for _ in 0..2 {
        assert!(matches!(breaker.call(hang()).await, Err(CallError::Failed(_))));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}
