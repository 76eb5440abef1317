//! Start and stop of a service, on a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::lifecycle::{
    Budget, Lifecycle, Phase, Plan, Progress, ShutdownSettings, StartSettings, State, start, stop,
};
use hafnium_core::tasks::Tasks;
use hafnium_core::{BoxFuture, Component, Context, Deadline, StartError, Stopped};
use tokio::time::{Instant, sleep};

type Log = Arc<Mutex<Vec<String>>>;

/// A component whose stop takes `takes`, and that writes down when it ended.
struct Part {
    name: &'static str,
    takes: Duration,
    log: Log,
}

impl Part {
    fn of(name: &'static str, takes: Duration, log: &Log) -> Arc<dyn Component> {
        let log = log.clone();
        Arc::new(Self { name, takes, log })
    }
}

impl Component for Part {
    fn name(&self) -> &str {
        self.name
    }
    fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }
    fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async {
            sleep(self.takes).await;
            self.log.lock().unwrap().push(self.name.to_owned());
            Stopped::Clean
        })
    }
    fn under_way(&self) -> Vec<String> {
        if self.takes > Duration::from_secs(1) {
            vec!["a slow thing".to_owned()]
        } else {
            Vec::new()
        }
    }
}

fn budget(drain_delay: Duration) -> Budget {
    ShutdownSettings::default().budget(drain_delay).unwrap()
}

const MOMENT: Duration = Duration::from_millis(10);
const FOREVER: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn the_stop_goes_in_order_and_sleeps_no_phase_out_but_the_drain_delay() {
    let (lifecycle, log) = (Lifecycle::new(), Log::default());
    let watch = lifecycle.watch();
    let (flush_log, flush_state) = (log.clone(), watch.clone());
    let plan = Plan::new(Tasks::new())
        .workloads([
            Part::of("consumer", MOMENT * 2, &log),
            Part::of("http", MOMENT, &log),
        ])
        .components([
            Part::of("postgres", MOMENT, &log),
            Part::of("producer", MOMENT, &log),
        ])
        .flush(move |_| async move {
            assert_eq!(flush_state.state(), State::Stopping);
            flush_log.lock().unwrap().push("telemetry".to_owned());
            Stopped::Clean
        });
    let begun = Instant::now();
    let delay = Duration::from_secs(5);
    let serving = tokio::spawn({
        let watch = watch.clone();
        async move {
            watch.reached(State::Draining).await;
            let draining = begun.elapsed();
            watch.reached(State::Stopping).await;
            (draining, begun.elapsed())
        }
    });
    let verdict = stop(&lifecycle, budget(delay), plan).await;
    assert!(verdict.is_clean() && verdict.exit_code() == 0, "{verdict}");
    assert_eq!(
        *log.lock().unwrap(),
        ["http", "consumer", "producer", "postgres", "telemetry"]
    );
    assert_eq!(
        serving.await.unwrap(),
        (Duration::ZERO, delay),
        "not ready at once, stopping after the delay"
    );
    assert_eq!(
        begun.elapsed(),
        delay + MOMENT * 4,
        "workloads side by side, components one after the other"
    );
    assert_eq!(watch.state(), State::Stopped);
    let phases: Vec<Phase> = verdict.took.iter().map(|(phase, _)| *phase).collect();
    use Phase::{Components, Drain, DrainDelay, Flush};
    assert_eq!(phases, [DrainDelay, Drain, Phase::Tasks, Components, Flush]);
}

#[tokio::test(start_paused = true)]
async fn whatever_hangs_the_stop_ends_within_its_budget_and_names_who_was_late() {
    let (lifecycle, log) = (Lifecycle::new(), Log::default());
    let plan = Plan::new(Tasks::new())
        .workloads([Part::of("http", FOREVER, &log)])
        .components([
            Part::of("postgres", MOMENT, &log),
            Part::of("redis", FOREVER, &log),
        ])
        .flush(|_| std::future::pending());
    let begun = Instant::now();
    let budget = budget(Duration::from_secs(5));
    let verdict = stop(&lifecycle, budget, plan).await;
    let overrun = begun.elapsed() - (budget.total() - budget.tasks);
    assert!(overrun <= Duration::from_millis(200), "{overrun:?}");
    let late: Vec<&str> = verdict.stragglers.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(late, ["http: a slow thing", "redis: a slow thing", "telemetry"]);
    assert_eq!(
        *log.lock().unwrap(),
        ["postgres"],
        "who is called after a late one is still called"
    );
    assert_eq!(verdict.exit_code(), 75);
    let line = verdict.to_string();
    assert!(
        line.starts_with("drain incomplete in 26.2s (drain_delay 5.0s, drain 15.1s"),
        "{line}"
    );
    assert!(line.contains("redis: a slow thing [components]"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_panics_while_stopping_is_named_and_the_stop_goes_on() {
    struct Shaky;
    impl Component for Shaky {
        fn name(&self) -> &str {
            "shaky"
        }
        fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
            Box::pin(async { panic!("as the test asks") })
        }
        fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
            panic!("as the test asks")
        }
    }
    let log = Log::default();
    let plan =
        Plan::new(Tasks::new()).components([Part::of("postgres", MOMENT, &log), Arc::new(Shaky) as Arc<_>]);
    let verdict = stop(&Lifecycle::new(), budget(Duration::ZERO), plan).await;
    assert_eq!(
        verdict.stragglers,
        [(Phase::Components, "shaky: panicked while stopping".to_owned())]
    );
    assert_eq!(*log.lock().unwrap(), ["postgres"]);

    let started = start(
        &[Arc::new(Shaky)],
        &Context::standalone(),
        Deadline::after(MOMENT),
        &Progress::new(),
    )
    .await;
    assert!(matches!(started.unwrap_err().error, StartError::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_task_that_does_not_yield_is_named_and_holds_nothing_up() {
    let tasks = Tasks::new();
    tasks.spawn("cruncher", async {
        #[expect(clippy::disallowed_methods, reason = "what a bad task does")]
        std::thread::sleep(Duration::from_millis(700));
    });
    tasks.spawn("sweeper", std::future::pending());
    sleep(Duration::from_millis(50)).await;
    let settings = ShutdownSettings::default();
    let mut budget = settings.budget(Duration::ZERO).unwrap();
    budget.tasks = Duration::from_millis(100);
    let begun = Instant::now();
    let verdict = stop(&Lifecycle::new(), budget, Plan::new(tasks)).await;
    assert!(
        begun.elapsed() < Duration::from_millis(400),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(verdict.stragglers, [(Phase::Tasks, "cruncher".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn while_a_phase_waits_a_line_every_five_seconds_names_what_it_waits_for() {
    let lines = captured::Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let log = Log::default();
    let twelve = Duration::from_secs(12);
    let plan = Plan::new(Tasks::new())
        .workloads([Part::of("http", twelve, &log), Part::of("consumer", MOMENT, &log)]);
    let verdict = stop(&Lifecycle::new(), budget(Duration::ZERO), plan).await;
    assert!(verdict.is_clean());
    let waits: Vec<String> = lines
        .all()
        .into_iter()
        .filter(|line| line.contains("stopping waits for"))
        .collect();
    assert_eq!(waits.len(), 2, "{waits:?}");
    assert!(
        waits
            .iter()
            .all(|line| line.contains("http: a slow thing") && !line.contains("consumer")),
        "{waits:?}"
    );
}

/// A component whose dependency is unavailable for its first `failures` attempts.
struct Flaky {
    failures: u32,
    attempts: AtomicU32,
    error: fn() -> StartError,
}

impl Component for Flaky {
    fn name(&self) -> &str {
        "postgres.ledger"
    }
    fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async {
            if self.attempts.fetch_add(1, Ordering::Relaxed) < self.failures {
                return Err((self.error)());
            }
            Ok(())
        })
    }
    fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async { Stopped::Clean })
    }
}

fn refused() -> StartError {
    StartError::unavailable("postgres.ledger", "connection refused")
}

fn flaky(failures: u32, error: fn() -> StartError) -> [Arc<dyn Component>; 1] {
    let attempts = AtomicU32::new(0);
    [Arc::new(Flaky {
        failures,
        attempts,
        error,
    })]
}

#[tokio::test(start_paused = true)]
async fn a_component_is_tried_again_while_its_dependency_is_unavailable() {
    let progress = Progress::new();
    let (cx, deadline) = (Context::standalone(), Deadline::after(Duration::from_secs(30)));
    let parts = flaky(5, refused);
    let starting = start(&parts, &cx, deadline, &progress);
    let looking = async {
        sleep(Duration::from_secs(1)).await;
        progress.waiting()
    };
    let (started, waiting) = tokio::join!(starting, looking);
    started.unwrap();
    let waiting = waiting.expect("1 s in, it still waits");
    assert_eq!(waiting.component, "postgres.ledger");
    assert_eq!(waiting.reason.as_deref(), Some("connection refused"));
    assert!(waiting.attempts >= 3);
    assert_eq!(progress.waiting(), None);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_dependency_ends_the_start_at_its_deadline_and_not_later() {
    let begun = Instant::now();
    let deadline = Deadline::after(Duration::from_secs(30));
    let failure = start(
        &flaky(u32::MAX, refused),
        &Context::standalone(),
        deadline,
        &Progress::new(),
    )
    .await;
    let failure = failure.unwrap_err();
    assert!(matches!(failure.error, StartError::Unavailable { .. }));
    assert!(
        (28..=30).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    let text = failure.to_string();
    assert!(
        text.contains("postgres.ledger: required dependency is unavailable: connection refused"),
        "{text}"
    );
    assert!(text.contains("gave up after") && failure.attempts > 10, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_ends_at_the_deadline_as_unavailable() {
    struct Hangs;
    impl Component for Hangs {
        fn name(&self) -> &str {
            "redis"
        }
        fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
            Box::pin(std::future::pending())
        }
        fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
            Box::pin(async { Stopped::Clean })
        }
    }
    let begun = Instant::now();
    let log = Log::default();
    let parts = [
        Part::of("postgres", MOMENT, &log),
        Arc::new(Hangs) as Arc<dyn Component>,
    ];
    let deadline = Deadline::after(Duration::from_secs(30));
    let failure = start(&parts, &Context::standalone(), deadline, &Progress::new())
        .await
        .unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    assert!(
        failure.error.retryable() && failure.to_string().contains("no answer within 30s"),
        "{failure}"
    );
    assert_eq!(failure.started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cant_work_is_not_tried_twice() {
    let parts = flaky(u32::MAX, || {
        StartError::configuration("postgres.ledger", "no such database")
    });
    let begun = Instant::now();
    let deadline = Deadline::after(Duration::from_secs(30));
    let failure = start(&parts, &Context::standalone(), deadline, &Progress::new())
        .await
        .unwrap_err();
    assert!(matches!(failure.error, StartError::Configuration { .. }));
    assert_eq!((failure.attempts, begun.elapsed()), (1, Duration::ZERO));
    assert_eq!(
        failure.to_string(),
        "postgres.ledger: configuration can't work: no such database"
    );
}

#[tokio::test(start_paused = true)]
async fn components_start_one_after_the_other_in_the_order_of_their_declaration() {
    struct Slow(&'static str, Log);
    impl Component for Slow {
        fn name(&self) -> &str {
            self.0
        }
        fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
            Box::pin(async {
                self.1.lock().unwrap().push(format!("{} begins", self.0));
                sleep(MOMENT).await;
                self.1.lock().unwrap().push(format!("{} is there", self.0));
                Ok(())
            })
        }
        fn stop<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Stopped> {
            Box::pin(async { Stopped::Clean })
        }
    }
    let log = Log::default();
    let parts: [Arc<dyn Component>; 2] =
        ["postgres", "redis"].map(|name| Arc::new(Slow(name, log.clone())) as _);
    let deadline = Deadline::after(FOREVER);
    let started = start(&parts, &Context::standalone(), deadline, &Progress::new()).await;
    started.unwrap();
    assert_eq!(
        *log.lock().unwrap(),
        [
            "postgres begins",
            "postgres is there",
            "redis begins",
            "redis is there"
        ]
    );
}

#[test]
fn all_components_together_have_30_seconds_to_start() {
    let settings = StartSettings::default();
    assert_eq!(settings.deadline.get(), Duration::from_secs(30));
}

/// The lines that were logged.
mod captured {
    use std::fmt::{Debug, Write};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Clone, Default)]
    pub(super) struct Lines(Arc<Mutex<Vec<String>>>);

    impl Lines {
        pub(super) fn all(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}
