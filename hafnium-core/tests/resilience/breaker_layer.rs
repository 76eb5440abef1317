//! The breaker as a tower layer.

use std::task::Poll;

use hafnium_core::resilience::{Breaker, BreakerState, CallError};
use tower::{Layer, Service, ServiceExt};

use crate::breaker::{fail, succeed};
use crate::support::{Strict, once, readiness, refused, seconds, touchy};

/// A breaker whose time is over: the next call is a probe.
async fn about_to_probe() -> Breaker {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    tokio::time::advance(seconds(5)).await;
    breaker
}

#[tokio::test(start_paused = true)]
async fn function_and_layer_share_one_breaker() {
    let breaker = Breaker::new("b", &touchy());
    let strict = Strict::answering([Err(refused(1))]);
    let service = breaker.layer().layer(strict.clone());
    assert_eq!(
        service.clone().oneshot(1).await,
        Err(CallError::Failed(refused(1)))
    );
    fail(&breaker, 1).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(matches!(service.oneshot(1).await, Err(CallError::Open(_))));
    assert_eq!(strict.seen.lock().unwrap().called, 1);
}

#[tokio::test(start_paused = true)]
async fn while_it_refuses_the_layer_is_ready_and_does_not_ask_the_service_below() {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    let strict = Strict::blocked();
    let mut service = breaker.layer().layer(strict.clone());
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    // Half a minute later it would be half-open; the service below was not ready all the same.
    tokio::time::advance(seconds(30)).await;
    assert!(matches!(service.call(1).await, Err(CallError::Open(_))));
    assert_eq!(strict.seen.lock().unwrap().asked, 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_below_that_is_not_ready_does_not_hide_that_the_breaker_opened() {
    let breaker = Breaker::new("b", &touchy());
    let mut service = breaker.layer().layer(Strict::blocked());
    assert!(readiness(&mut service).await.is_pending());
    fail(&breaker, 2).await;
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    assert!(matches!(service.call(1).await, Err(CallError::Open(_))));
}

#[tokio::test(start_paused = true)]
async fn a_readied_service_holds_its_probe_and_gives_it_back_when_dropped() {
    let breaker = about_to_probe().await;
    let service = breaker.layer().layer(Strict::default());
    let (mut first, mut second) = (service.clone(), service.clone());
    assert!(matches!(readiness(&mut first).await, Poll::Ready(Ok(()))));
    assert!(matches!(readiness(&mut second).await, Poll::Ready(Ok(()))));
    assert!(succeed(&breaker).await.is_err(), "both places are reserved");
    assert!(
        matches!(readiness(&mut first).await, Poll::Ready(Ok(()))),
        "asked twice, reserved once"
    );
    drop(second);
    assert_eq!(succeed(&breaker).await, Ok(7));
    assert_eq!(first.call(1).await, Ok(1));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_clone_of_a_readied_service_has_reserved_nothing() {
    let breaker = about_to_probe().await;
    let mut service = breaker.layer().layer(Strict::default());
    assert!(matches!(readiness(&mut service).await, Poll::Ready(Ok(()))));
    let clone = service.clone();
    drop(service);
    assert!(succeed(&breaker).await.is_ok() && succeed(&breaker).await.is_ok());
    drop(clone);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_passes_and_gives_the_probe_back() {
    let breaker = about_to_probe().await;
    let strict = Strict::default();
    let mut service = breaker.layer().layer(strict.clone());
    for _ in 0..5 {
        strict.seen.lock().unwrap().unready = Some(refused(3));
        let ready = readiness(&mut service).await;
        assert!(matches!(ready, Poll::Ready(Err(CallError::Failed(error))) if error == refused(3)));
    }
    assert!(succeed(&breaker).await.is_ok() && succeed(&breaker).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_layers_answer_gives_the_probe_back_and_counts_as_nothing() {
    let breaker = about_to_probe().await;
    let strict = Strict::default();
    strict.seen.lock().unwrap().hangs = true;
    for _ in 0..5 {
        let mut call = Box::pin(breaker.layer().layer(strict.clone()).oneshot(1));
        assert!(once(&mut call).await.is_pending());
    }
    assert_eq!(strict.seen.lock().unwrap().called, 5);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(succeed(&breaker).await.is_ok() && succeed(&breaker).await.is_ok());
    assert_eq!(breaker.state(), BreakerState::Closed);
}
