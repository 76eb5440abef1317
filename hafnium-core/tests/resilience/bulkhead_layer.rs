//! The bulkhead as a tower layer.

use std::task::Poll;

use hafnium_core::resilience::{Bulkhead, CallError};
use tower::{Layer, Service, ServiceExt};

use crate::support::{Strict, millis, once, places, readiness, refused};

#[tokio::test(start_paused = true)]
async fn function_and_layer_share_the_places() {
    let bulkhead = Bulkhead::new("b", &places(1, 0));
    let service = bulkhead.layer().layer(Strict::default());
    let held = bulkhead.enter().await.unwrap();
    assert!(matches!(
        service.clone().oneshot(1).await,
        Err(CallError::Full(_))
    ));
    drop(held);
    assert_eq!(service.oneshot(1).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_readied_service_holds_its_place_and_gives_it_back_when_dropped() {
    let bulkhead = Bulkhead::new("b", &places(1, 0));
    let mut service = bulkhead.layer().layer(Strict::default());
    for _ in 0..3 {
        assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    }
    assert_eq!(bulkhead.report().in_use, 1, "asked three times, reserved once");
    let clone = service.clone();
    drop(service);
    assert_eq!(bulkhead.report().in_use, 0);
    assert_eq!(clone.oneshot(1).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn the_place_is_held_until_the_answer_ends_or_is_dropped() {
    let bulkhead = Bulkhead::new("b", &places(1, 0));
    let strict = Strict::default();
    strict.seen.lock().unwrap().hangs = true;
    let mut call = Box::pin(bulkhead.layer().layer(strict.clone()).oneshot(1));
    assert!(once(&mut call).await.is_pending());
    assert_eq!(
        (bulkhead.report().in_use, strict.seen.lock().unwrap().under_way),
        (1, 1)
    );
    drop(call);
    assert_eq!(
        (bulkhead.report().in_use, strict.seen.lock().unwrap().under_way),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_waits_for_a_place_is_woken_when_one_is_free() {
    let bulkhead = Bulkhead::new("b", &places(1, 1));
    let held = bulkhead.enter().await.unwrap();
    let waiting = tokio::spawn(bulkhead.layer().layer(Strict::default()).oneshot(1));
    tokio::time::sleep(millis(50)).await;
    assert_eq!(bulkhead.report().queued, 1);
    drop(held);
    assert_eq!(waiting.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_service_that_waits_leaves_the_queue() {
    let bulkhead = Bulkhead::new("b", &places(1, 1));
    let _held = bulkhead.enter().await.unwrap();
    let mut service = bulkhead.layer().layer(Strict::default());
    assert!(readiness(&mut service).await.is_pending());
    assert_eq!(bulkhead.report().queued, 1);
    drop(service);
    assert_eq!(bulkhead.report().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_place_in_time_the_layer_is_ready_to_refuse_and_asks_nobody_below() {
    let bulkhead = Bulkhead::new("b", &places(1, 1));
    let held = bulkhead.enter().await.unwrap();
    let strict = Strict::default();
    let mut service = bulkhead.layer().layer(strict.clone());
    let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
    assert_eq!(ready, Ok(()));
    assert!(matches!(service.call(1).await, Err(CallError::Full(_))));
    assert_eq!(strict.seen.lock().unwrap().asked, 0);
    drop(held);
    assert_eq!(service.oneshot(2).await, Ok(2), "a refusal is not for ever");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_passes_and_gives_the_place_back() {
    let bulkhead = Bulkhead::new("b", &places(1, 0));
    let strict = Strict::default();
    strict.seen.lock().unwrap().unready = Some(refused(3));
    let mut service = bulkhead.layer().layer(strict);
    let ready = readiness(&mut service).await;
    assert!(matches!(ready, Poll::Ready(Err(CallError::Failed(error))) if error == refused(3)));
    assert_eq!(bulkhead.report().in_use, 0);
}
