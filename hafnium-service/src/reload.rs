//! Reload: the configuration follows its sources, and what is made of it follows the configuration.

use std::sync::Arc;

use hafnium_core::Context;
use hafnium_core::config::{Changes, Config, Loader, Problem, ReloadSettings, Reloader};
use hafnium_core::lifecycle::Signals;
use hafnium_telemetry::{Telemetry, TelemetrySettings};

/// Keeps the configuration of `context`, and the log filter with it, at what the sources of `loader` say.
pub(crate) fn begin(context: &Context, loader: Loader, signals: &Signals, telemetry: &Arc<Telemetry>) {
    // It was found right when it was loaded.
    let settings = context
        .config()
        .current()
        .get::<ReloadSettings>()
        .unwrap_or_default();
    let reloader = Reloader::new(context, loader, &settings);
    let changes = context.config().watch();
    context.tasks().spawn("config", reloader.run(signals.hangups()));
    context
        .tasks()
        .spawn("log filter", follow_filter(changes, telemetry.clone()));
}

async fn follow_filter(mut changes: Changes, telemetry: Arc<Telemetry>) {
    loop {
        let config = changes.changed().await;
        let Ok(settings) = config.get::<TelemetrySettings>() else {
            continue;
        };
        // Every filter that comes here was found readable.
        if let Err(error) = telemetry.configure_log_filter(settings.log_filter.as_deref()) {
            tracing::error!("{error}");
        }
    }
}

/// A filter that can't be read is a problem of the configuration, at the start and at each reload.
pub(crate) fn filter_is_readable(config: &Config) -> Vec<Problem> {
    let Some(partial) = config.partial::<TelemetrySettings>(&[]) else {
        return Vec::new();
    };
    let wrong = partial.settings.check_filter().err();
    partial.problems(wrong.map(|error| ("log_filter", error.to_string())))
}
