//! Scores payments: reads `payments`, keeps a velocity window per account, writes the score to Postgres once per
//! payment, and publishes it on `risk-scores`.

mod api;
mod engine;
mod ledger;
mod payment;
mod scoring;
mod velocity;

use hafnium::config::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::engine::Engine;
use crate::ledger::Ledger;
use crate::velocity::Velocity;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The service's own keys, below `settings`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RiskSettings {
    /// How far back an account's payments count.
    #[serde(default = "window")]
    window: Duration,
    /// From which amount on, in cents, a payment is as risky as an amount can make it.
    #[serde(default = "large_amount")]
    large_amount: i64,
}

fn window() -> Duration {
    Duration::from_secs(60)
}

fn large_amount() -> i64 {
    1_000_000
}

fn main() -> std::process::ExitCode {
    hafnium::Service::new("risk-engine", env!("CARGO_PKG_VERSION"))
        .settings::<RiskSettings>()
        .postgres("ledger", |postgres| postgres.migrations(&MIGRATIONS))
        .redis("velocity")
        .kafka("events")
        .consumer("payments", |consumer| {
            consumer.kafka("events").topic("payments").group("risk-engine")
        })
        .run(async |app| {
            let engine = Engine {
                ledger: Ledger::new(app.postgres("ledger")?),
                velocity: Velocity::new(app.redis("velocity")?, app.settings().window.get()),
                producer: app.kafka("events")?.producer(),
                large_amount: app.settings().large_amount,
            };
            app.serve(api::routes(engine.clone()));
            app.consume("payments", engine);
            Ok(())
        })
}
