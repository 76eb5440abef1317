//! Named background tasks, on a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::health::{CheckReport, Health};
use hafnium_core::lifecycle::{Lifecycle, Phase, Plan, ShutdownSettings, stop};
use hafnium_core::tasks::{Every, Restart, Tasks};
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// When runs began, in seconds from the first look at it.
#[derive(Clone)]
struct Times {
    zero: Instant,
    seen: Arc<Mutex<Vec<f64>>>,
}

impl Times {
    fn new() -> Self {
        Self {
            zero: Instant::now(),
            seen: Arc::default(),
        }
    }

    /// Notes a run; gives how many there were before.
    fn note(&self) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(self.zero.elapsed().as_secs_f64());
        seen.len() - 1
    }

    fn all(&self) -> Vec<f64> {
        self.seen.lock().unwrap().clone()
    }

    fn gaps(&self) -> Vec<f64> {
        self.all().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// What ended the service; a test without an end must not wait for ever.
async fn fatal(tasks: &Tasks) -> String {
    let fatal = timeout(Duration::from_secs(60), tasks.fatal()).await;
    fatal.expect("nothing was fatal").to_string()
}

async fn panics() {
    panic!("as the test asks")
}

/// No task has ended the service.
async fn nothing_is_fatal(tasks: &Tasks) -> bool {
    timeout(Duration::from_millis(1), tasks.fatal()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn stop_cancels_and_awaits_every_task_whatever_it_is_about() {
    let tasks = Tasks::new();
    tasks.spawn("plain", std::future::pending());
    tasks.spawn("plain", std::future::pending());
    tasks.spawn_with("kept", Restart::always(), std::future::pending::<()>);
    tasks.spawn_with("waits", Restart::on_failure().backoff(HOUR, HOUR), || async {
        Err("broken")
    });
    tasks.every("sweeps", HOUR, || async {});
    sleep(seconds(1.0)).await;
    let running: Vec<_> = tasks.running().into_iter().collect();
    let expected = [("kept", 1), ("plain", 2), ("sweeps", 1), ("waits", 1)];
    assert_eq!(running, expected.map(|(name, count)| (name.to_owned(), count)));
    let begun = Instant::now();
    tasks.stop().await;
    assert!(tasks.running().is_empty());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(nothing_is_fatal(&tasks).await);
}

#[tokio::test]
async fn a_panic_names_its_task_and_leaves_the_others_running() {
    let tasks = Tasks::new();
    tasks.spawn("steady", std::future::pending());
    tasks.spawn("shaky", async { panic!("as the test asks") });
    assert_eq!(fatal(&tasks).await, "task shaky panicked: as the test asks");
    assert_eq!(tasks.running().into_keys().collect::<Vec<_>>(), ["steady"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_restart_an_error_is_fatal() {
    let tasks = Tasks::new();
    tasks.spawn_with("loader", Restart::never(), || async { Err("no model") });
    assert_eq!(fatal(&tasks).await, "task loader failed: no model");
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_run_again_with_waits_that_double_up_to_their_most() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    let policy = Restart::on_failure().backoff(seconds(1.0), seconds(8.0));
    tasks.spawn_with("follower", policy, move || {
        let run = noted.note();
        async move {
            assert!(run % 2 == 0, "a panic is a failure like an error");
            Err("refused")
        }
    });
    sleep(seconds(60.0)).await;
    let gaps = times.gaps();
    for (gap, full) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 8.0, 8.0]) {
        assert!((full / 2.0 - 0.01..=full + 0.01).contains(gap), "{gaps:?}");
    }
    assert!(gaps.len() >= 6, "{gaps:?}");
    assert!(nothing_is_fatal(&tasks).await);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lasted_starts_the_waits_anew() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    let policy = Restart::on_failure()
        .backoff(seconds(1.0), seconds(64.0))
        .settled_after(seconds(30.0))
        .limit(4);
    tasks.spawn_with("follower", policy, move || {
        let run = noted.note();
        async move {
            if run % 4 == 3 {
                sleep(seconds(30.0)).await;
            }
            Err("refused")
        }
    });
    sleep(seconds(300.0)).await;
    assert!(nothing_is_fatal(&tasks).await, "never five in a row");
    let gaps = times.gaps();
    // The fourth run lasted, so that its failure is the first again: 30 s and a wait of the first length.
    assert!((30.5..=31.01).contains(&gaps[3]), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn one_failure_in_a_row_more_than_the_limit_is_fatal() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    tasks.spawn_with("follower", Restart::on_failure().limit(2), move || {
        noted.note();
        async { Err("refused") }
    });
    assert_eq!(
        fatal(&tasks).await,
        "task follower gave up after 3 failures in a row; the last run failed: refused"
    );
    assert_eq!(times.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_good_end_is_final_unless_the_task_is_always_to_run() {
    let tasks = Tasks::new();
    let runs = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    for (counted, policy) in runs.iter().zip([Restart::on_failure(), Restart::always()]) {
        let counted = counted.clone();
        tasks.spawn_with("loader", policy, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {}
        });
    }
    sleep(seconds(10.0)).await;
    let [once, always] = runs.map(|runs| runs.load(Ordering::Relaxed));
    assert_eq!(once, 1);
    assert!(
        (100..=200).contains(&always),
        "after 50 ms to 100 ms each: {always}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_periodic_task_keeps_its_period_with_jitter_whatever_its_runs_take() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    tasks.every("sweeper", seconds(10.0), move || {
        noted.note();
        sleep(seconds(3.0))
    });
    sleep(seconds(1005.0)).await;
    let seen = times.all();
    assert_eq!(seen.len(), 100);
    for (index, at) in seen.iter().enumerate() {
        let late = at - 10.0 * (index + 1) as f64;
        assert!((-0.001..=1.001).contains(&late), "run {index} at {at}");
    }
    assert!(
        times.gaps().iter().any(|gap| (gap - 10.0).abs() > 0.3),
        "no jitter: {seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_run_is_at_once_where_it_is_asked_for() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    let every = Every::new(seconds(10.0)).jitter(0.0).at_once();
    tasks.every("sweeper", every, move || {
        noted.note();
        async {}
    });
    sleep(seconds(25.0)).await;
    assert_eq!(
        times.all().iter().map(|at| at.round()).collect::<Vec<_>>(),
        [0.0, 10.0, 20.0]
    );
}

#[tokio::test(start_paused = true)]
async fn runs_never_overlap_and_ticks_that_were_missed_are_skipped() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let (noted, at_work) = (times.clone(), Arc::new(AtomicU32::new(0)));
    let every = Every::new(seconds(10.0)).jitter(0.0).timeout(HOUR);
    tasks.every("sweeper", every, move || {
        let (run, at_work) = (noted.note(), at_work.clone());
        async move {
            assert_eq!(at_work.fetch_add(1, Ordering::Relaxed), 0, "two at once");
            sleep(if run == 0 { seconds(35.0) } else { seconds(1.0) }).await;
            at_work.fetch_sub(1, Ordering::Relaxed);
        }
    });
    sleep(seconds(75.0)).await;
    // The run of 10 s went on until 45 s: what was due at 20, 30 and 40 s is not made up for.
    assert_eq!(
        times.all().iter().map(|at| at.round()).collect::<Vec<_>>(),
        [10.0, 50.0, 60.0, 70.0]
    );
    assert!(nothing_is_fatal(&tasks).await);
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_timeout_is_dropped_and_the_next_tick_comes() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    let ended = Arc::new(AtomicU32::new(0));
    let counted = ended.clone();
    let every = Every::new(seconds(10.0)).jitter(0.0).timeout(seconds(2.0));
    tasks.every("sweeper", every, move || {
        noted.note();
        let counted = counted.clone();
        async move {
            sleep(seconds(3.0)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    sleep(seconds(35.0)).await;
    assert_eq!((times.all().len(), ended.load(Ordering::Relaxed)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_periodic_task_is_not_fatal_and_a_panic_is_unless_its_policy_restarts() {
    let tasks = Tasks::new();
    tasks.every("fails", seconds(1.0), || async { Err("refused") });
    let restarted = Every::new(seconds(1.0)).restart(Restart::on_failure());
    tasks.every("panics and says so", restarted, panics);
    sleep(seconds(60.0)).await;
    assert!(nothing_is_fatal(&tasks).await);
    tasks.every("panics", seconds(1.0), panics);
    assert_eq!(fatal(&tasks).await, "task panics panicked: as the test asks");
}

#[tokio::test(start_paused = true)]
async fn the_policy_of_a_periodic_task_waits_longer_after_each_failure_and_gives_up_at_its_limit() {
    let (tasks, times) = (Tasks::new(), Times::new());
    let noted = times.clone();
    let policy = Restart::on_failure().backoff(seconds(4.0), HOUR).limit(3);
    let every = Every::new(seconds(1.0)).jitter(0.0).restart(policy);
    tasks.every("sweeper", every, move || {
        noted.note();
        async { Err("refused") }
    });
    let fatal = fatal(&tasks).await;
    assert_eq!(
        fatal,
        "task sweeper gave up after 4 failures in a row; the last run failed: refused"
    );
    let gaps = times.gaps();
    for (gap, most) in gaps.iter().zip([4.0, 8.0, 16.0]) {
        assert!((most / 2.0..=most + 1.0).contains(gap), "{gaps:?}");
    }
}

fn check(cx: &Context, name: &str) -> Option<CheckReport> {
    let checks = cx.health().report().checks;
    checks.into_iter().find(|check| check.name == name)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_shows_as_degraded_until_it_has_settled_and_never_unreadies() {
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let runs = AtomicU32::new(0);
    let policy = Restart::on_failure().settled_after(seconds(30.0));
    cx.tasks().spawn_with("follower", policy, move || {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(seconds(7.0)).await;
            if run < 2 {
                return Err("refused");
            }
            sleep(seconds(100.0)).await;
            Ok(())
        }
    });
    sleep(seconds(6.0)).await;
    assert_eq!(check(&cx, "task.follower").unwrap().health, Health::Up);
    sleep(seconds(20.0)).await;
    let failing = check(&cx, "task.follower").unwrap();
    assert_eq!(failing.health, Health::Degraded);
    assert_eq!(
        failing.reason.as_deref(),
        Some("2 failures in a row; the last run failed: refused")
    );
    assert!(!failing.counts && cx.health().report().is_ready());
    sleep(seconds(25.0)).await;
    assert_eq!(check(&cx, "task.follower").unwrap().health, Health::Up);
    sleep(seconds(120.0)).await;
    assert_eq!(check(&cx, "task.follower"), None, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_periodic_task_is_degraded_from_a_failed_run_to_a_good_one() {
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let runs = AtomicU32::new(0);
    let every = Every::new(seconds(60.0)).jitter(0.0).at_once();
    cx.tasks().every("sweeper", every, move || {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        async move { if run == 0 { Err("locked") } else { Ok(()) } }
    });
    sleep(seconds(30.0)).await;
    let failing = check(&cx, "task.sweeper").unwrap();
    assert_eq!(
        failing.reason.as_deref(),
        Some("1 failures in a row; the last run failed: locked")
    );
    sleep(seconds(40.0)).await;
    assert_eq!(check(&cx, "task.sweeper").unwrap().health, Health::Up);
}

#[tokio::test]
async fn the_panic_of_a_blocking_task_is_for_who_awaits_it_and_not_fatal() {
    let tasks = Tasks::new();
    assert_eq!(tasks.spawn_blocking("hash", || 7).await.unwrap(), 7);
    let panicked = tasks.spawn_blocking("hash", || panic!("as the test asks"));
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(nothing_is_fatal(&tasks).await);
    tasks.stop().await;
}

#[tokio::test]
async fn a_blocking_task_that_ignores_its_cancellation_is_counted_and_named_and_holds_nothing_up() {
    let tasks = Tasks::new();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    for _ in 0..2 {
        let held = held.clone();
        tasks.spawn_blocking("compress", move || {
            let _ = held.lock().unwrap().recv();
        });
    }
    let cancelled = tasks.cancelled();
    tasks.spawn_blocking("polite", move || {
        while !cancelled.is_cancelled() {
            std::thread::yield_now();
        }
    });
    assert_eq!(tasks.running().get("compress (blocking)"), Some(&2));
    let mut budget = ShutdownSettings::default().budget(Duration::ZERO).unwrap();
    budget.tasks = Duration::from_millis(200);
    let begun = Instant::now();
    let verdict = stop(&Lifecycle::new(), budget, Plan::new(tasks)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        verdict.stragglers,
        [(Phase::Tasks, "compress (blocking) ×2".to_owned())]
    );
    drop(release);
}

#[tokio::test]
async fn a_panic_of_a_components_own_loop_is_fatal_although_it_is_no_task_of_the_service() {
    let tasks = Tasks::new();
    assert_eq!(tasks.guard("postgres.ledger", async { 7 }).await, Some(7));
    tokio::spawn(tasks.guard("postgres.ledger", panics()));
    assert_eq!(
        fatal(&tasks).await,
        "task postgres.ledger panicked: as the test asks"
    );
    tasks.stop().await;
}
