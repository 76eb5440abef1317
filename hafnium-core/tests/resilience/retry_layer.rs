//! The retry policy as a tower layer.

use std::task::Poll;

use hafnium_core::resilience::RetryPolicy;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::support::{Failed, Strict, attempts, millis, once, readiness, refused, seconds, unknown};

#[tokio::test(start_paused = true)]
async fn each_attempt_of_the_layer_waits_for_a_readiness_of_its_own() {
    let strict = Strict::answering([Err(refused(1)), Err(refused(2)), Ok(7)]);
    let seen = strict.seen.clone();
    let service = RetryPolicy::new("d", &attempts(3)).layer().layer(strict);
    // `Strict` panics when it is called without having been ready.
    assert_eq!(service.oneshot(1).await, Ok(7));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.asked, seen.called), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_while_the_service_below_is_not_ready() {
    let strict = Strict::answering([Err(refused(1)), Ok(7)]);
    let mut service = RetryPolicy::new("d", &attempts(3)).layer().layer(strict.clone());
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    strict.seen.lock().unwrap().blocked = true;
    let mut call = Box::pin(service.call(1));
    assert!(once(&mut call).await.is_pending());
    tokio::time::sleep(seconds(5)).await;
    assert!(
        once(&mut call).await.is_pending(),
        "the pause is over, the service is not ready"
    );
    assert_eq!(strict.seen.lock().unwrap().called, 1);
    strict.unblock();
    assert_eq!(call.await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_permit_of_towers_concurrency_limit_is_not_held_during_a_pause() {
    let mut settings = attempts(2);
    settings.max_retry_after = hafnium_core::config::Duration::from_secs(60);
    let asks = Failed {
        retry_after: Some(seconds(30)),
        ..refused(1)
    };
    let strict = Strict::answering([Err(asks), Ok(2)]);
    let service = ServiceBuilder::new()
        .layer(RetryPolicy::new("d", &settings).layer())
        .concurrency_limit(1)
        .service(strict);
    let pausing = tokio::spawn(service.clone().oneshot(1));
    tokio::time::sleep(millis(1)).await;
    assert_eq!(
        service.oneshot(5).await,
        Ok(2),
        "it took the second answer while the first call paused"
    );
    assert_eq!(pausing.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_ends_the_call_as_it_is() {
    let strict = Strict::answering([Err(refused(1)), Ok(7)]);
    let mut service = RetryPolicy::new("d", &attempts(3)).layer().layer(strict.clone());
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    let call = service.call(1);
    strict.seen.lock().unwrap().unready = Some(unknown(9));
    assert_eq!(call.await, Err(unknown(9)));
    assert_eq!(strict.seen.lock().unwrap().called, 1);
}

#[tokio::test(start_paused = true)]
async fn function_and_layer_take_from_one_budget() {
    let mut settings = attempts(2);
    settings.budget.minimum_per_second = 0;
    settings.budget.burst = 1;
    let policy = RetryPolicy::new("d", &settings);
    let answer = policy.run(|| async { Err::<u32, _>(refused(1)) }).await;
    assert_eq!(answer, Err(refused(1)));
    let strict = Strict::answering([Err(refused(2)), Ok(7)]);
    let service = policy.layer().layer(strict.clone());
    assert_eq!(
        service.oneshot(1).await,
        Err(refused(2)),
        "the function took the last token"
    );
    assert_eq!(strict.seen.lock().unwrap().called, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_layers_answer_drops_the_attempt_under_way() {
    let strict = Strict::default();
    strict.seen.lock().unwrap().hangs = true;
    let service = RetryPolicy::new("d", &attempts(3)).layer().layer(strict.clone());
    let mut call = Box::pin(service.oneshot(1));
    assert!(once(&mut call).await.is_pending());
    assert_eq!(strict.seen.lock().unwrap().under_way, 1);
    drop(call);
    assert_eq!(strict.seen.lock().unwrap().under_way, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_does_not_make_an_earlier_unknown_outcome_certain() {
    let strict = Strict::answering([Err(unknown(1)), Ok(7)]);
    let policy = RetryPolicy::new("d", &attempts(3)).idempotent();
    let mut service = policy.layer().layer(strict.clone());
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    let call = service.call(1);
    strict.seen.lock().unwrap().unready = Some(refused(9));
    assert_eq!(call.await, Err(unknown(1)));
    assert_eq!(strict.seen.lock().unwrap().called, 1);
}
