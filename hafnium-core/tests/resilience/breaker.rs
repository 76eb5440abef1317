//! The breaker as a function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::IntoResponse;
use futures_util::FutureExt;
use hafnium_core::problem::Problem;
use hafnium_core::resilience::{Breaker, BreakerState, CallError, Verdict};
use hafnium_core::{Classify, Fault, Outcome};
use tokio::time::timeout;

use crate::support::{Failed, invalid, millis, refused, seconds, touchy, written};

pub(crate) async fn fail(breaker: &Breaker, times: u32) {
    for number in 0..times {
        let _ = breaker.call(async { Err::<(), _>(refused(number)) }).await;
    }
}

pub(crate) async fn succeed(breaker: &Breaker) -> Result<u32, CallError<Failed>> {
    breaker.call(async { Ok(7) }).await
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_never_polls_what_it_refuses() {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    let polled = Arc::new(AtomicU32::new(0));
    let touch = polled.clone();
    let call = async move {
        touch.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Failed>(())
    };
    assert!(matches!(breaker.call(call).await, Err(CallError::Open(_))));
    assert_eq!(polled.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn it_opens_lets_probes_through_after_its_time_and_closes() {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    tokio::time::advance(millis(4999)).await;
    assert!(succeed(&breaker).await.is_err());
    tokio::time::advance(millis(1)).await;
    assert_eq!(succeed(&breaker).await, Ok(7));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(succeed(&breaker).await, Ok(7));
    assert_eq!(breaker.state(), BreakerState::Closed);
    let report = breaker.report();
    assert_eq!((report.opened, report.since, report.calls), (1, seconds(0), 0));
}

#[tokio::test(start_paused = true)]
async fn half_open_no_more_calls_run_at_once_than_there_are_probes() {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    tokio::time::advance(seconds(5)).await;
    let running = Arc::new(AtomicU32::new(0));
    let calls = (0..20).map(|_| {
        let (breaker, running) = (breaker.clone(), running.clone());
        tokio::spawn(async move {
            let call = async {
                running.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(seconds(1)).await;
                Ok::<_, Failed>(())
            };
            breaker.call(call).await
        })
    });
    let calls: Vec<_> = calls.collect();
    tokio::time::sleep(millis(500)).await;
    assert_eq!(running.load(Ordering::Relaxed), 2);
    let mut refused = 0;
    for call in calls {
        refused += u32::from(call.await.unwrap().is_err());
    }
    assert_eq!(refused, 18);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_its_place_back_and_counts_as_nothing() {
    let breaker = Breaker::new("b", &touchy());
    let hang = || breaker.call(std::future::pending::<Result<(), Failed>>());
    for _ in 0..10 {
        assert!(timeout(seconds(1), hang()).await.is_err());
    }
    assert_eq!(
        (breaker.state(), breaker.report().calls),
        (BreakerState::Closed, 0)
    );

    fail(&breaker, 2).await;
    tokio::time::advance(seconds(5)).await;
    for _ in 0..10 {
        assert!(timeout(millis(10), hang()).await.is_err(), "a place was lost");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
    assert!(succeed(&breaker).await.is_ok() && succeed(&breaker).await.is_ok());
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_gives_its_place_back() {
    let breaker = Breaker::new("b", &touchy());
    fail(&breaker, 2).await;
    tokio::time::advance(seconds(5)).await;
    for _ in 0..5 {
        let call = breaker.call(async {
            if breaker.state() == BreakerState::HalfOpen {
                panic!("as the test asks");
            }
            Ok::<_, Failed>(())
        });
        assert!(std::panic::AssertUnwindSafe(call).catch_unwind().await.is_err());
    }
    assert!(succeed(&breaker).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_dependency_and_capacity_count_as_failures() {
    for (fault, opens) in [
        (Fault::Dependency, true),
        (Fault::Capacity, true),
        (Fault::Caller, false),
        (Fault::Service, false),
    ] {
        let breaker = Breaker::new("b", &touchy());
        for _ in 0..10 {
            let failed = Failed { fault, ..refused(1) };
            let _ = breaker.call(async { Err::<(), _>(failed) }).await;
        }
        assert_eq!(breaker.state() == BreakerState::Open, opens, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_dependency_opens_it_where_that_is_asked_for() {
    let mut settings = touchy();
    for (limit, opens) in [(None, false), (Some(written(seconds(1))), true)] {
        settings.slow_call = limit;
        let breaker = Breaker::new("b", &settings);
        for _ in 0..3 {
            let slow = async {
                tokio::time::sleep(seconds(1)).await;
                Ok::<_, Failed>(())
            };
            let _ = breaker.call(slow).await;
        }
        assert_eq!(breaker.state() == BreakerState::Open, opens, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_is_settled_by_its_verdict_and_nothing_else() {
    let breaker = Breaker::new("b", &touchy());
    breaker.admit().unwrap().record(Verdict::Failure);
    drop(breaker.admit().unwrap());
    breaker.admit().unwrap().observe::<(), _>(&Err(invalid(1)));
    assert_eq!(breaker.report().calls, 1);
    breaker.admit().unwrap().observe::<(), _>(&Err(refused(1)));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_a_503_that_says_when_to_come_back() {
    let breaker = Breaker::new("scoring", &touchy());
    fail(&breaker, 2).await;
    tokio::time::advance(millis(1500)).await;
    let error = succeed(&breaker).await.unwrap_err();
    assert_eq!(
        (error.code(), error.outcome(), error.retryable(), error.fault()),
        ("breaker.open", Outcome::NotRun, true, Fault::Dependency)
    );
    assert_eq!(error.retry_after(), Some(millis(3500)));
    let response = Problem::from(error).into_response();
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(
        response.headers()["retry-after"],
        "4",
        "whole seconds, not too early"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_a_breaker_keeps_its_state_and_its_window() {
    let mut settings = touchy();
    settings.minimum_calls = 100;
    let breaker = Breaker::new("b", &settings);
    fail(&breaker, 3).await;
    settings.minimum_calls = 4;
    breaker.configure(&settings);
    assert_eq!(
        (breaker.state(), breaker.report().failures),
        (BreakerState::Closed, 3)
    );
    fail(&breaker, 1).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    settings.open_for = written(seconds(60));
    breaker.configure(&settings);
    tokio::time::advance(seconds(59)).await;
    assert!(succeed(&breaker).await.is_err());
    tokio::time::advance(seconds(1)).await;
    assert!(succeed(&breaker).await.is_ok());
}
