//! The scheduler of health checks, on a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::health::{Check, CheckReport, Health, Registry, Status};
use hafnium_core::metrics::Metrics;
use hafnium_core::tasks::Tasks;
use tokio::time::{Instant, sleep};

fn running() -> (Registry, Tasks) {
    let (registry, tasks) = (Registry::new(), Tasks::new());
    registry.run(&tasks, &Metrics::noop());
    (registry, tasks)
}

fn seen(registry: &Registry, name: &str) -> CheckReport {
    let report = registry.report();
    report
        .checks
        .into_iter()
        .find(|check| check.name == name)
        .expect("registered")
}

async fn up() -> Status {
    Status::Up
}

#[tokio::test(start_paused = true)]
async fn a_critical_check_that_has_not_run_yet_is_unknown_and_not_ready() {
    let registry = Registry::new();
    let _own = registry.register(Check::own("disk"), up);
    assert_eq!(seen(&registry, "disk").health, Health::Unknown);
    assert!(!registry.report().is_ready());
    let tasks = Tasks::new();
    registry.run(&tasks, &Metrics::noop());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        seen(&registry, "disk").health,
        Health::Up,
        "the first run is at once"
    );
    assert!(registry.report().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_check_registered_later_runs_at_once_and_a_dropped_one_never_again() {
    let (registry, _tasks) = running();
    sleep(Duration::from_secs(3)).await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let registration = registry.register(Check::own("late"), move || {
        counted.fetch_add(1, Ordering::Relaxed);
        up()
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    drop(registration);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert!(registry.report().checks.is_empty());
}

/// What panics once more when it is dropped.
struct Sharp;

impl Drop for Sharp {
    fn drop(&mut self) {
        panic!("sharp");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_in_a_destructor_has_failed_and_is_run_again() {
    let (registry, _tasks) = running();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let check = Check::own("sharp").thresholds(1, 1);
    let _check = registry.register(check, move || {
        let run = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if run == 0 {
                std::panic::panic_any(Sharp);
            }
            Status::Up
        }
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert_eq!(seen(&registry, "sharp").health, Health::Down);
    sleep(Duration::from_secs(60)).await;
    assert!(runs.load(Ordering::Relaxed) > 1);
    assert_eq!(seen(&registry, "sharp").health, Health::Up);
}

#[tokio::test(start_paused = true)]
async fn the_period_holds_with_ten_percent_of_jitter() {
    let (registry, _tasks) = running();
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = times.clone();
    let _check = registry.register(Check::own("steady").period(Duration::from_secs(10)), move || {
        noted.lock().unwrap().push(Instant::now());
        up()
    });
    sleep(Duration::from_secs(1000)).await;
    let times = times.lock().unwrap();
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert!(gaps.len() > 80, "{}", gaps.len());
    assert!(gaps.iter().all(|gap| (8.99..=11.01).contains(gap)), "{gaps:?}");
    assert!(
        gaps.iter().any(|gap| *gap < 9.9) && gaps.iter().any(|gap| *gap > 10.1),
        "no jitter: {gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn three_failures_take_a_check_down_and_two_successes_bring_it_back() {
    let (registry, _tasks) = running();
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let _check = registry.register(Check::own("db").period(Duration::from_secs(5)), move || {
        let broken = state.load(Ordering::Relaxed);
        async move {
            if broken {
                Status::Down("refused".into())
            } else {
                Status::Up
            }
        }
    });
    sleep(Duration::from_secs(1)).await;
    broken.store(true, Ordering::Relaxed);
    // Two periods at most give two failures: 2 × 5.5 s.
    sleep(Duration::from_secs(10)).await;
    let check = seen(&registry, "db");
    assert_eq!((check.health, check.failures > 0), (Health::Up, true));
    assert_eq!(check.reason.as_deref(), Some("refused"));
    sleep(Duration::from_secs(8)).await;
    assert_eq!(seen(&registry, "db").health, Health::Down);
    assert!(!registry.report().is_ready());
    broken.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(seen(&registry, "db").health, Health::Up);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_never_returns_has_failed_at_its_limit_and_harms_no_other() {
    let (registry, _tasks) = running();
    let _hangs = registry.register(
        Check::own("hangs").timeout(Duration::from_secs(2)),
        std::future::pending::<Status>,
    );
    let _steady = registry.register(Check::own("steady"), up);
    sleep(Duration::from_millis(1999)).await;
    assert_eq!(seen(&registry, "hangs").health, Health::Unknown);
    assert_eq!(seen(&registry, "steady").health, Health::Up);
    sleep(Duration::from_millis(2)).await;
    let check = seen(&registry, "hangs");
    assert_eq!(check.health, Health::Down);
    assert_eq!(check.reason.as_deref(), Some("no answer within 2s"));
    sleep(Duration::from_secs(60)).await;
    assert!(seen(&registry, "hangs").failures > 5, "it is tried again");
    assert_eq!(seen(&registry, "steady").failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_has_failed_and_is_run_again() {
    let (registry, tasks) = running();
    let _in_future = registry.register(Check::own("in its future"), || async {
        panic!("as the test asks")
    });
    fn at_once() -> std::future::Ready<Status> {
        panic!("as the test asks")
    }
    let _at_once = registry.register(Check::own("at once"), at_once);
    sleep(Duration::from_secs(30)).await;
    for name in ["in its future", "at once"] {
        let check = seen(&registry, name);
        assert_eq!(
            (check.health, check.reason.as_deref()),
            (Health::Down, Some("the check panicked"))
        );
        assert!(check.failures >= 4, "{name}");
    }
    assert!(
        tasks.running().contains_key("health"),
        "the scheduler is unharmed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_blocks_its_thread_is_found_late() {
    let (registry, _tasks) = running();
    let check = Check::own("blocks")
        .timeout(Duration::from_millis(50))
        .period(Duration::from_millis(100));
    let _blocks = registry.register(check, || async {
        #[expect(clippy::disallowed_methods, reason = "what a bad check does")]
        std::thread::sleep(Duration::from_millis(600));
        Status::Up
    });
    sleep(Duration::from_millis(300)).await;
    let check = seen(&registry, "blocks");
    assert_eq!(check.health, Health::Down);
    assert!(
        check.failures >= 2,
        "it counts again while it blocks: {}",
        check.failures
    );
}

#[tokio::test(start_paused = true)]
async fn a_shared_check_counts_for_readiness_only_where_configuration_lists_it() {
    let (registry, _tasks) = running();
    let _own = registry.register(Check::own("pool"), up);
    let _note = registry.register(Check::own("note").informational(), || async {
        Status::Down("x".into())
    });
    let _shared = registry.register(Check::shared("postgres.ledger"), || async {
        Status::Down("x".into())
    });
    sleep(Duration::from_secs(1)).await;
    assert!(registry.report().is_ready());
    registry.require(["postgres.ledger".to_owned()]);
    assert!(!registry.report().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_name_listed_for_readiness_that_nobody_registers_shows_and_is_not_ready() {
    let (registry, _tasks) = running();
    registry.require(["postgres.leger".to_owned()]);
    assert!(!registry.report().is_ready());
    assert_eq!(seen(&registry, "postgres.leger").health, Health::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_silent_heartbeat_is_a_stall_until_it_beats_or_is_dropped() {
    let registry = Registry::new();
    let heartbeat = registry.heartbeat("loop", Duration::from_secs(15));
    sleep(Duration::from_secs(15)).await;
    assert!(registry.report().is_alive());
    sleep(Duration::from_millis(2)).await;
    assert!(!registry.report().is_alive());
    heartbeat.beat();
    assert!(registry.report().is_alive());
    sleep(Duration::from_secs(60)).await;
    assert!(!registry.report().is_alive());
    drop(heartbeat);
    assert!(registry.report().is_alive());
}

#[tokio::test(start_paused = true)]
async fn the_changes_of_a_check_are_kept_with_their_times_and_reasons() {
    let (registry, _tasks) = running();
    let begun = Instant::now();
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    let check = Check::own("db").period(Duration::from_secs(10)).thresholds(2, 1);
    let _check = registry.register(check, move || {
        let broken = state.load(Ordering::Relaxed);
        async move {
            if broken {
                Status::Down("refused".into())
            } else {
                Status::Up
            }
        }
    });
    sleep(Duration::from_secs(5)).await;
    broken.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(30)).await;
    broken.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(15)).await;
    let history = seen(&registry, "db").history;
    let changes: Vec<_> = history
        .iter()
        .map(|change| (change.health, change.reason.as_deref()))
        .collect();
    assert_eq!(
        changes,
        [
            (Health::Up, None),
            (Health::Down, Some("refused")),
            (Health::Up, None)
        ]
    );
    // The second failure in a row: after two periods, each of 9 s to 11 s.
    let down = (history[1].at - begun).as_secs_f64();
    assert!((18.0..=22.1).contains(&down), "{down}");
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_of_the_runtime_beats_while_it_runs_and_ends_with_the_tasks() {
    let (registry, tasks) = (Registry::new(), Tasks::new());
    registry.watch_runtime(&tasks, Duration::from_secs(10));
    for _ in 0..100 {
        sleep(Duration::from_millis(777)).await;
        let pulse = registry.report().pulses[0].clone();
        assert_eq!(pulse.name, "runtime");
        assert!(pulse.silent <= Duration::from_secs(1), "{pulse:?}");
    }
    tasks.stop().await;
    assert!(
        registry.report().pulses.is_empty(),
        "what is stopped is not stuck"
    );
}
