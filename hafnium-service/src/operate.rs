//! What runs on the operator's thread, out of reach of whatever blocks the service's runtime: the probes, the scheduler of
//! the health checks, and the clock of a stop.

use std::process::ExitCode;

use hafnium_core::admin::{Admin, AdminSettings, Operator};
use hafnium_core::config::Config;
use hafnium_core::exit::Exit;
use hafnium_core::health::HealthSettings;
use hafnium_core::lifecycle::{self, Budget, Signals};
use hafnium_core::{Context, StartError};
use tokio::runtime::Handle;

use crate::ending::Ending;

/// Starts the operator listener and what belongs beside it. Must be called within the runtime of the service.
pub(crate) fn operate(
    config: &Config,
    admin: &Admin,
    cx: &Context,
    signals: &Signals,
    budget: Budget,
) -> Result<Operator, Ending> {
    let stall = config.get::<HealthSettings>()?.runtime_stall.get();
    cx.health().watch_runtime(cx.tasks(), stall);
    let checks = cx.health().schedule(cx.metrics(), Handle::current());
    let guard = guard(cx.clone(), signals.clone(), budget);
    let beside = async {
        tokio::join!(checks, guard);
    };
    let started: Result<Operator, StartError> =
        Operator::start(&config.early::<AdminSettings>()?, admin.router(), cx, beside);
    Ok(started?)
}

/// Ends the process when its stop does not: nothing that blocks keeps it past the deadline.
async fn guard(cx: Context, signals: Signals, budget: Budget) {
    let asked = async {
        signals.received().await;
    };
    lifecycle::overdue(cx.lifecycle(), asked, budget.total()).await;
    let tasks: Vec<String> = cx.tasks().running().into_keys().collect();
    let reason = format!(
        "drain incomplete: no end {:?} after it was asked for, so something blocks the runtime; tasks not ended: {}",
        budget.total(),
        tasks.join(", ")
    );
    tracing::error!("{reason}");
    let _: ExitCode = Ending::new(Exit::Incomplete, reason).conclude();
    #[expect(
        clippy::disallowed_methods,
        reason = "main is what does not return: there is nobody else to end the process"
    )]
    std::process::exit(i32::from(Exit::Incomplete.code()));
}
