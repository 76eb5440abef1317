//! Services that misbehave in their lives: tasks that panic or block, set-ups that do, checks that block every worker.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::extract::Path;
use hafnium::axum::routing::get;
use hafnium::health::{Check, Status};
use hafnium::lifecycle::State;
use hafnium::tasks::Restart;
use hafnium::{App, Service, SetupError};
use hafnium_core::topology::View;

const LONG: Duration = Duration::from_secs(60);

/// Runs the case of that name, if it is one of these.
pub(crate) fn case(name: &str, service: Service) -> Option<ExitCode> {
    let code = match name {
        "panicking-task" => service.run(async |app| {
            app.spawn("shaky", async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                panic!("as the test asks")
            });
            serve(&app)
        }),
        "panicking-task-in-the-start" => service.run(async |app: App| {
            app.spawn("shaky", async { panic!("as the test asks") });
            tokio::time::sleep(LONG).await;
            serve(&app)
        }),
        "restarting-task" => service.run(async |app| {
            let runs = AtomicU32::new(0);
            let policy = Restart::on_failure().backoff(Duration::from_millis(10), Duration::from_secs(1));
            app.spawn_with("shaky", policy, move || {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                async move {
                    assert!(run > 1, "as the test asks");
                    std::future::pending::<()>().await;
                }
            });
            serve(&app)
        }),
        "panicking-set-up" => service.run(async |app| {
            serve(&app)?;
            panic!("as the test asks")
        }),
        "panicking-main" => panic!("as the test asks"),
        "blocking-task" => service.run(async |app| {
            app.spawn_blocking("compress", || std::thread::sleep(LONG));
            serve(&app)
        }),
        "blocking-set-up" => service.run(async |app| {
            std::thread::sleep(LONG);
            serve(&app)
        }),
        "slow-set-up" => service.run(async |app| {
            tokio::time::sleep(LONG).await;
            serve(&app)
        }),
        "panicking-task-in-the-stop" => service.run(async |app| {
            let lifecycle = app.context().lifecycle().clone();
            app.spawn("shaky", async move {
                lifecycle.reached(State::Draining).await;
                panic!("as the test asks")
            });
            serve(&app)
        }),
        "blocking-look" => service.run(async |app| {
            blocking_look(&app);
            serve(&app)
        }),
        "blocking-after-the-stop" => service.run(async |app| {
            blocking_look(&app);
            let lifecycle = app.context().lifecycle().clone();
            tokio::spawn(async move {
                lifecycle.reached(State::Stopped).await;
                std::thread::sleep(LONG);
            });
            serve(&app)
        }),
        "blocking-check" => service.run(async |app| {
            let check = Check::own("bad")
                .timeout(Duration::from_millis(200))
                .thresholds(1, 1);
            let registration = app.context().health().register(check, || async {
                std::thread::sleep(LONG);
                Status::Up
            });
            app.spawn("keeps its check", async move {
                let _registration = registration;
                std::future::pending::<()>().await;
            });
            serve(&app)
        }),
        _ => return None,
    };
    Some(code)
}

/// Registers a dependency that blocks who looks at it, which is the operator's thread.
fn blocking_look(app: &App) {
    let look = || {
        std::thread::sleep(LONG);
        View::default()
    };
    let registration = app.context().topology().register("stuck", "test", look);
    app.spawn("keeps its dependency", async move {
        let _registration = registration;
        std::future::pending::<()>().await;
    });
}

fn serve(app: &App) -> Result<(), SetupError> {
    app.serve(
        Router::new()
            .route("/", get(async || "hello\n"))
            .route("/block/{milliseconds}", get(block)),
    );
    Ok(())
}

/// Blocks the worker that it is served by.
pub(crate) async fn block(Path(milliseconds): Path<u64>) -> &'static str {
    std::thread::sleep(Duration::from_millis(milliseconds));
    "done\n"
}
