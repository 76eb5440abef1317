//! The bulkhead as a function.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::IntoResponse;
use hafnium_core::problem::Problem;
use hafnium_core::resilience::{Bulkhead, BulkheadFull, CallError};
use hafnium_core::{Classify, Deadline, Fault, Outcome};
use tokio::time::{Instant, timeout};

use crate::support::{Failed, millis, places, refused, seconds, written};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_calls_run_than_there_are_places_whatever_is_dropped() {
    let mut settings = places(3, 1000);
    settings.queue_timeout = written(seconds(60));
    let bulkhead = Bulkhead::new("b", &settings);
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let calls = (0..300).map(|call| {
        let (bulkhead, running, most) = (bulkhead.clone(), running.clone(), most.clone());
        tokio::spawn(async move {
            struct Leaves(Arc<AtomicU32>);
            impl Drop for Leaves {
                fn drop(&mut self) {
                    self.0.fetch_sub(1, Ordering::SeqCst);
                }
            }
            let work = bulkhead.run(async {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _leaves = Leaves(running);
                tokio::time::sleep(millis(1)).await;
                Ok::<_, Failed>(())
            });
            // Each third is dropped, while it waits or while it runs.
            let limit = if call % 3 == 0 {
                millis(call / 10)
            } else {
                seconds(60)
            };
            let _ = timeout(limit, work).await;
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let report = bulkhead.report();
    assert_eq!((report.in_use, report.queued), (0, 0), "a place was lost");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_queue_a_call_is_refused_at_once() {
    let bulkhead = Bulkhead::new("b", &places(1, 2));
    let _held = bulkhead.enter().await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move { bulkhead.enter().await.map(drop) })
        })
        .collect();
    tokio::time::sleep(millis(1)).await;
    assert_eq!((bulkhead.report().in_use, bulkhead.report().queued), (1, 2));
    let begun = Instant::now();
    assert!(matches!(bulkhead.enter().await, Err(BulkheadFull::Queue { .. })));
    assert_eq!(begun.elapsed(), millis(0));
    for waiting in waiting {
        let result = waiting.await.unwrap();
        assert!(matches!(result, Err(BulkheadFull::Timeout { waited, .. }) if waited == millis(100)));
    }
    assert_eq!(bulkhead.report().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_place_beyond_the_deadline_in_force() {
    let bulkhead = Bulkhead::new("b", &places(1, 1));
    let _held = bulkhead.enter().await.unwrap();
    let begun = Instant::now();
    let refused = Deadline::after(millis(30)).scope(bulkhead.enter()).await;
    assert!(matches!(refused, Err(BulkheadFull::Timeout { .. })));
    assert_eq!(begun.elapsed(), millis(30));
}

#[tokio::test(start_paused = true)]
async fn places_go_to_those_that_have_waited_longest_and_nobody_overtakes() {
    let bulkhead = Bulkhead::new("b", &places(1, 100));
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = bulkhead.enter().await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let (bulkhead, order) = (bulkhead.clone(), order.clone());
        waiting.push(tokio::spawn(async move {
            let _place = bulkhead.enter().await.unwrap();
            order.lock().unwrap().push(number);
        }));
        tokio::time::sleep(millis(1)).await;
    }
    drop(held);
    // It comes last, though the place may be free at this moment.
    let _late = bulkhead.enter().await.unwrap();
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    for waiting in waiting {
        waiting.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_leaves_its_place_in_the_queue_and_runs_nothing() {
    let bulkhead = Bulkhead::new("b", &places(1, 1));
    let held = bulkhead.enter().await.unwrap();
    let ran = AtomicU32::new(0);
    for _ in 0..5 {
        let call = bulkhead.run(async {
            ran.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Failed>(())
        });
        assert!(timeout(millis(10), call).await.is_err());
    }
    assert_eq!((bulkhead.report().queued, ran.load(Ordering::Relaxed)), (0, 0));
    drop(held);
    assert!(bulkhead.run(async { Ok::<_, Failed>(()) }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_503_and_an_error_of_the_call_is_its_own() {
    let bulkhead = Bulkhead::new("b", &places(1, 0));
    let failed = bulkhead.run(async { Err::<(), _>(refused(4)) }).await;
    assert_eq!(failed, Err(CallError::Failed(refused(4))));
    let _held = bulkhead.enter().await.unwrap();
    let error = bulkhead.run(async { Ok::<_, Failed>(()) }).await.unwrap_err();
    assert_eq!(
        (error.code(), error.outcome(), error.retryable(), error.fault()),
        ("bulkhead.full", Outcome::NotRun, true, Fault::Capacity)
    );
    let response = Problem::from(error).into_response();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_to_fewer_places_takes_them_as_calls_end_and_to_more_at_once() {
    let bulkhead = Bulkhead::new("b", &places(4, 0));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(bulkhead.enter().await.unwrap());
    }
    bulkhead.configure(&places(2, 0));
    assert_eq!(
        (bulkhead.report().in_use, bulkhead.report().max_concurrent),
        (4, 2)
    );
    held.truncate(2);
    assert_eq!(bulkhead.report().in_use, 2);
    assert!(bulkhead.enter().await.is_err(), "two places, both taken");
    held.truncate(1);
    let _second = bulkhead.enter().await.unwrap();
    bulkhead.configure(&places(3, 0));
    let _third = bulkhead.enter().await.unwrap();
    assert!(bulkhead.enter().await.is_err());
    // Fewer and more again while all are held: no place may come from nowhere.
    bulkhead.configure(&places(1, 0));
    bulkhead.configure(&places(3, 0));
    assert!(bulkhead.enter().await.is_err());
    assert_eq!(bulkhead.report().in_use, 3);
}
