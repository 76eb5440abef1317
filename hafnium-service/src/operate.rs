//! What runs on the operator's thread, out of reach of whatever blocks the service's runtime: the probes and the scheduler
//! of the health checks.

use hafnium_core::admin::{Admin, AdminSettings, Operator};
use hafnium_core::config::Config;
use hafnium_core::health::HealthSettings;
use hafnium_core::{Context, StartError};
use tokio::runtime::Handle;

use crate::ending::Ending;

/// Starts the operator listener and what belongs beside it. Must be called within the runtime of the service.
pub(crate) fn operate(config: &Config, admin: &Admin, cx: &Context) -> Result<Operator, Ending> {
    let stall = config.get::<HealthSettings>()?.runtime_stall.get();
    cx.health().watch_runtime(cx.tasks(), stall);
    let checks = cx.health().schedule(cx.metrics(), Handle::current());
    let started: Result<Operator, StartError> =
        Operator::start(&config.get::<AdminSettings>()?, admin.router(), cx, checks);
    Ok(started?)
}
