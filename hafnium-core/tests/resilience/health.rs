//! The breakers of a process, as health and the operator see them.

use hafnium_core::health::Health;
use hafnium_core::metrics::Metrics;
use hafnium_core::resilience::BreakerState;
use hafnium_core::{Classify, Context};

use crate::breaker::{fail, succeed};
use crate::support::{seconds, touchy};

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_degraded_with_its_reason_and_the_process_stays_ready_and_alive() {
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), &Metrics::noop());
    let breaker = cx.breakers().named("scoring", &touchy());
    let check = || {
        let report = cx.health().report();
        assert!(report.is_ready() && report.is_alive());
        report
            .checks
            .into_iter()
            .find(|check| check.name == "breaker.scoring")
    };
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(check().unwrap().health, Health::Up);
    fail(&breaker, 2).await;
    tokio::time::sleep(seconds(2)).await;
    let degraded = check().unwrap();
    assert_eq!(degraded.health, Health::Degraded);
    let reason = degraded.reason.unwrap();
    assert!(
        reason.starts_with("open since ") && reason.ends_with("2 of 2 calls failed"),
        "{reason}"
    );
    tokio::time::sleep(seconds(4)).await;
    let _ = (succeed(&breaker).await, succeed(&breaker).await);
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(check().unwrap().health, Health::Up);
    drop(breaker);
    assert!(check().is_none(), "nobody holds it any more");
    assert!(cx.breakers().report().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_name_is_one_breaker_and_the_report_says_state_age_and_counts() {
    let cx = Context::standalone();
    let (one, other) = (
        cx.breakers().named("b", &touchy()),
        cx.breakers().named("b", &touchy()),
    );
    let _another = cx.breakers().named("a", &touchy());
    fail(&one, 1).await;
    fail(&other, 1).await;
    tokio::time::advance(seconds(3)).await;
    let report = cx.breakers().report();
    let names: Vec<_> = report.iter().map(|report| &*report.name).collect();
    assert_eq!(names, ["a", "b"]);
    let b = &report[1];
    assert_eq!((b.state, b.since, b.opened), (BreakerState::Open, seconds(3), 1));
    assert_eq!((b.calls, b.failures, b.slow), (2, 2, 0));
    let refused = succeed(&one).await.unwrap_err();
    assert_eq!(refused.code(), "breaker.open");
}
