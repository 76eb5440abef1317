//! The retry policy and its budget, as functions.

use std::cell::{Cell, RefCell};

use hafnium_core::config::Ratio;
use hafnium_core::resilience::{RetryBudget, RetryBudgetSettings, RetryPolicy};
use hafnium_core::{Deadline, Outcome};
use tokio::time::{Instant, timeout};

use crate::support::{Failed, attempts, invalid, millis, refused, seconds, unknown, written};

/// Runs a call whose attempts end with `answers` in turn; gives its answer and how many attempts there were.
async fn run(policy: &RetryPolicy, answers: Vec<Result<u32, Failed>>) -> (Result<u32, Failed>, usize) {
    let answers = RefCell::new(answers.into_iter());
    let made = Cell::new(0);
    let answer = policy
        .run(|| {
            made.set(made.get() + 1);
            let answer = answers.borrow_mut().next().unwrap_or(Ok(0));
            async { answer }
        })
        .await;
    (answer, made.get())
}

fn no_budget() -> RetryBudgetSettings {
    let mut none = RetryBudgetSettings::default();
    (none.ratio, none.minimum_per_second, none.burst) = (Ratio::from_percent(0), 0, 0);
    none
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_until_it_succeeds() {
    let policy = RetryPolicy::new("d", &attempts(3));
    let answers = vec![Err(refused(1)), Err(refused(2)), Ok(7)];
    assert_eq!(run(&policy, answers).await, (Ok(7), 3));
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_are_made_than_configured_and_the_last_error_is_given_back() {
    for most in 1..5 {
        let policy = RetryPolicy::new("d", &attempts(most));
        let answers = (1..=10).map(|number| Err(refused(number))).collect();
        assert_eq!(run(&policy, answers).await, (Err(refused(most)), most as usize));
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_repeated_only_where_it_is_idempotent() {
    let policy = RetryPolicy::new("d", &attempts(3));
    let answers = || vec![Err(unknown(1)), Ok(7)];
    assert_eq!(run(&policy, answers()).await, (Err(unknown(1)), 1));
    assert_eq!(run(&policy.idempotent(), answers()).await, (Ok(7), 2));
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_not_repeated() {
    let policy = RetryPolicy::new("d", &attempts(3)).idempotent();
    assert_eq!(
        run(&policy, vec![Err(invalid(1)), Ok(7)]).await,
        (Err(invalid(1)), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_claims_more_certainty_than_all_attempts_have() {
    let policy = RetryPolicy::new("d", &attempts(3)).idempotent();
    let answers = vec![Err(unknown(1)), Err(refused(2)), Err(refused(3))];
    let (answer, _) = run(&policy, answers).await;
    assert_eq!(answer.as_ref().unwrap_err().outcome, Outcome::Unknown);
    assert_eq!(answer, Err(unknown(1)));
    let answers = vec![Err(unknown(1)), Err(refused(2)), Err(unknown(3))];
    assert_eq!(run(&policy, answers).await.0, Err(unknown(3)));
    let answers = vec![Err(unknown(1)), Err(invalid(2))];
    assert_eq!(run(&policy, answers).await.0, Err(unknown(1)));
}

#[tokio::test(start_paused = true)]
async fn pauses_are_jittered_within_bounds_that_double() {
    let mut settings = attempts(5);
    settings.budget.burst = 1000;
    let policy = RetryPolicy::new("d", &settings);
    let mut longest = [0; 4];
    for _ in 0..200 {
        let begun = RefCell::new(Vec::new());
        let answer = policy
            .run(|| {
                begun.borrow_mut().push(Instant::now());
                async { Err::<(), _>(refused(1)) }
            })
            .await;
        assert!(answer.is_err());
        for (index, pair) in begun.borrow().windows(2).enumerate() {
            longest[index] = (pair[1] - pair[0]).as_millis().max(longest[index]);
        }
    }
    for (pause, bound) in longest.into_iter().zip([50, 100, 200, 400]) {
        // Tokio's timers are rounded up to a millisecond. Of 200 draws one is in the upper half.
        assert!(pause > bound / 2 && pause <= bound + 1, "{longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_pause_ends_behind_the_deadline_and_the_error_comes_back_at_once() {
    let mut settings = attempts(1000);
    (settings.backoff, settings.max_backoff) = (written(seconds(1)), written(seconds(1)));
    settings.budget.burst = 100_000;
    let policy = RetryPolicy::new("d", &settings);
    for _ in 0..50 {
        let (begun, last) = (Instant::now(), Cell::new(Instant::now()));
        let limit = seconds(3);
        let call = policy.run(|| {
            last.set(Instant::now());
            async { Err::<(), _>(refused(1)) }
        });
        assert_eq!(Deadline::after(limit).scope(call).await, Err(refused(1)));
        assert!(last.get() - begun < limit, "an attempt began behind the deadline");
        assert_eq!(last.get(), Instant::now(), "it waited for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn the_retry_after_of_the_dependency_is_waited_for_and_one_too_long_is_not() {
    let policy = RetryPolicy::new("d", &attempts(3));
    let asks = |wait| Failed {
        retry_after: Some(wait),
        ..refused(1)
    };
    let begun = Instant::now();
    assert_eq!(run(&policy, vec![Err(asks(seconds(2))), Ok(7)]).await, (Ok(7), 2));
    let waited = begun.elapsed();
    assert!(waited >= seconds(2) && waited <= millis(2051), "{waited:?}");

    let begun = Instant::now();
    let long = asks(millis(2001));
    assert_eq!(run(&policy, vec![Err(long.clone()), Ok(7)]).await, (Err(long), 1));
    assert_eq!(begun.elapsed(), millis(0));
}

#[tokio::test(start_paused = true)]
async fn without_budget_the_first_error_is_given_back() {
    let mut settings = attempts(10);
    settings.budget = no_budget();
    settings.budget.burst = 2;
    let policy = RetryPolicy::new("d", &settings);
    let answers = || (1..=10).map(|number| Err(refused(number))).collect();
    assert_eq!(run(&policy, answers()).await, (Err(refused(1)), 3), "two retries");
    assert_eq!(
        run(&policy, answers()).await,
        (Err(refused(1)), 1),
        "no token left"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_gets_no_more_retries_than_the_budget_of_all_policies_together() {
    let mut settings = RetryBudgetSettings::default();
    (settings.ratio, settings.minimum_per_second, settings.burst) = (Ratio::from_percent(10), 0, 20);
    let budget = RetryBudget::new(&settings);
    let policies = [1, 2].map(|_| RetryPolicy::new("d", &attempts(4)).with_budget(&budget));
    let mut retries = 0;
    for call in 0..1000 {
        let (_, made) = run(&policies[call % 2], (0..9).map(|_| Err(refused(1))).collect()).await;
        retries += made - 1;
    }
    // 20 saved up and a tenth of 1000 requests, less what the full bucket could not take.
    assert!((100..=120).contains(&retries), "{retries} retries");
}

#[tokio::test(start_paused = true)]
async fn the_minimum_lets_a_quiet_service_retry() {
    let mut settings = attempts(2);
    settings.budget = no_budget();
    (settings.budget.minimum_per_second, settings.budget.burst) = (1, 1);
    let policy = RetryPolicy::new("d", &settings);
    let answers = || vec![Err(refused(1)), Ok(7)];
    assert_eq!(run(&policy, answers()).await.0, Ok(7));
    assert_eq!(run(&policy, answers()).await.0, Err(refused(1)));
    tokio::time::advance(seconds(1)).await;
    assert_eq!(run(&policy, answers()).await.0, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn dropped_during_a_pause_nothing_is_under_way_or_follows() {
    let mut settings = attempts(3);
    settings.max_retry_after = written(seconds(60));
    let policy = RetryPolicy::new("d", &settings);
    let made = Cell::new(0);
    let call = policy.run(|| {
        made.set(made.get() + 1);
        let asks = Failed {
            retry_after: Some(seconds(30)),
            ..refused(1)
        };
        async { Err::<(), _>(asks) }
    });
    assert!(timeout(seconds(1), call).await.is_err());
    tokio::time::advance(seconds(120)).await;
    assert_eq!(made.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_retries_is_followed_by_every_clone_and_keeps_the_tokens() {
    let mut settings = attempts(3);
    settings.budget.minimum_per_second = 0;
    let policy = RetryPolicy::new("d", &settings);
    let view = policy.idempotent();
    let _ = run(&policy, (0..3).map(|_| Err(refused(1))).collect()).await;
    let tokens = policy.budget().tokens();
    assert_eq!(tokens, 98.0, "two retries");
    settings.max_attempts = 1;
    policy.configure(&settings);
    assert_eq!(
        run(&view, vec![Err(unknown(1)), Ok(7)]).await,
        (Err(unknown(1)), 1)
    );
    assert!(
        policy.budget().tokens() < tokens + 0.2,
        "the bucket was filled again"
    );
}
