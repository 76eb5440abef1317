//! What retries, breakers and bulkheads record, read back as a scraper does.

use hafnium_core::resilience::{Breaker, Bulkhead, RetryPolicy};
use tower::{Layer, Service};

use crate::breaker::{fail, succeed};
use crate::recorded::Recorded;
use crate::support::{Failed, Strict, attempts, invalid, places, readiness, refused, touchy};

/// The value of a series, zero where there is none yet.
fn number(recorded: &Recorded, name: &str, label: &str) -> f64 {
    recorded
        .value(name, label)
        .map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_breaker_records_its_state_its_changes_and_what_it_refused() {
    let recorded = Recorded::new();
    let breaker = Breaker::with_metrics("scoring", &touchy(), &recorded.metrics);
    let state = |state: &str| number(&recorded, "hafnium_breaker_state", &format!("state=\"{state}\""));
    assert_eq!(
        (state("closed"), state("open"), state("half_open")),
        (1.0, 0.0, 0.0)
    );
    fail(&breaker, 2).await;
    let _ = succeed(&breaker).await;
    assert_eq!(
        (state("closed"), state("open"), state("half_open")),
        (0.0, 1.0, 0.0)
    );
    let opened = number(&recorded, "hafnium_breaker_transitions_total", "state=\"open\"");
    let rejected = || number(&recorded, "hafnium_breaker_rejected_total", "scoring");
    assert_eq!((opened, rejected()), (1.0, 1.0));
    // A service that is asked whether it is ready has made no call yet.
    let mut service = breaker.layer().layer(Strict::default());
    for _ in 0..3 {
        assert!(readiness(&mut service).await.is_ready());
    }
    assert_eq!(rejected(), 1.0);
    assert!(service.call(1).await.is_err());
    assert_eq!(rejected(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_by_result_and_the_budget_shows_its_tokens() {
    let recorded = Recorded::new();
    let mut settings = attempts(2);
    (settings.budget.minimum_per_second, settings.budget.burst) = (0, 2);
    let policy = RetryPolicy::with_metrics("scoring", &settings, &recorded.metrics);
    for (first, second) in [
        (Err(refused(1)), Ok(1)),
        (Err(refused(1)), Err(refused(2))),
        (Err(refused(1)), Ok(1)),
        (Err(invalid(1)), Ok(1)),
        (Ok(1), Ok(1)),
    ] {
        let mut answers = vec![second, first];
        let _: Result<u32, Failed> = policy
            .run(|| {
                let answer = answers.pop().unwrap();
                async { answer }
            })
            .await;
    }
    let result = |result: &str| {
        number(
            &recorded,
            "hafnium_retry_results_total",
            &format!("result=\"{result}\""),
        )
    };
    assert_eq!(number(&recorded, "hafnium_retry_attempts_total", "scoring"), 2.0);
    assert_eq!((result("succeeded"), result("attempts_exhausted")), (1.0, 1.0));
    assert_eq!((result("budget_exhausted"), result("not_retryable")), (1.0, 1.0));
    let tokens = number(&recorded, "hafnium_retry_budget_tokens", "scoring");
    assert!(tokens < 1.0, "{tokens}");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_records_what_runs_waits_and_is_refused() {
    let recorded = Recorded::new();
    let bulkhead = Bulkhead::with_metrics("reports", &places(1, 1), &recorded.metrics);
    let held = bulkhead.enter().await.unwrap();
    let waiting = bulkhead.clone();
    let waiting = tokio::spawn(async move { waiting.enter().await.map(drop) });
    tokio::task::yield_now().await;
    assert!(bulkhead.enter().await.is_err());
    let value = |name: &str| number(&recorded, &format!("hafnium_bulkhead_{name}"), "reports");
    assert_eq!((value("in_use"), value("queued")), (1.0, 1.0));
    assert!(waiting.await.unwrap().is_err());
    drop(held);
    assert_eq!((value("in_use"), value("queued")), (0.0, 0.0));
    let rejected = |reason: &str| {
        number(
            &recorded,
            "hafnium_bulkhead_rejected_total",
            &format!("reason=\"{reason}\""),
        )
    };
    assert_eq!((rejected("full"), rejected("queue_timeout")), (1.0, 1.0));
}
