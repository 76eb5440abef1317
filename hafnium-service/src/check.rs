//! `check`: is the configuration right, and does every dependency answer?

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::{self, Progress};
use hafnium_core::{Component, Context, Deadline};

use crate::assembly::{Clients, assemble};
use crate::connections::{self, Demand};
use crate::ending::Ending;
use crate::lax;
use crate::material;
use crate::runtime::{self, RuntimeSettings};
use crate::secrets;
use crate::service::Service;

/// Loads the configuration, reaches every dependency, and prints a line for each. The first kind of failure decides
/// the exit code, all of them are printed.
pub(crate) fn check<S>(service: Service<S>) -> Result<Ending, Ending> {
    let config = service.loader.load()?;
    let runtime = runtime::build(&config.get::<RuntimeSettings>()?)?;
    runtime.block_on(secrets::during(&config, async |secrets, deadline| {
        (service.settings)(&config)?;
        material::check(&config, &service.declarations)?;
        say(&format!(
            "configuration: ok (environment {})",
            config.environment().as_str()
        ));
        for remark in lax::warnings(&config).iter().chain(&secrets::remarks(&config)) {
            say(remark);
        }
        let context = Context::standalone().with_secrets(secrets.clone());
        let assembly = assemble(&service.declarations, &config, &context)?;
        let reached = assembly
            .components
            .iter()
            .map(|component| reach(component, &assembly.clients, &context, deadline));
        let reached = futures_util::future::join_all(reached).await;
        let mut failed = None;
        let mut found = Vec::new();
        for (component, result) in assembly.components.iter().zip(reached) {
            match result {
                Ok(remarks) => {
                    say(&format!("{}: ok", component.name()));
                    found.extend(remarks);
                }
                Err(ending) => {
                    say(&ending.reason);
                    failed = failed.or(Some(ending));
                }
            }
        }
        for line in connections::lines(&found, config.place().replicas) {
            say(&line);
        }
        match failed {
            None => Ok(Ending::clean()),
            Some(ending) => Err(Ending::new(
                ending.exit,
                format!("check failed: {}", ending.reason),
            )),
        }
    }))
}

/// Starts one component, asks what else there is to know of it, and stops it.
async fn reach(
    component: &Arc<dyn Component>,
    clients: &Clients,
    context: &Context,
    deadline: Deadline,
) -> Result<Option<Demand>, Ending> {
    let one = std::slice::from_ref(component);
    let started = lifecycle::start(one, context, deadline, &Progress::new()).await;
    let found = match &started {
        Ok(_) => connections::ask(component.name(), clients).await,
        Err(_) => None,
    };
    let stopped = component.stop(Deadline::after(Duration::from_secs(1))).await;
    if !stopped.stragglers().is_empty() {
        return Err(Ending::new(
            Exit::Failure,
            format!("{}: did not close", component.name()),
        ));
    }
    started?;
    Ok(found)
}

/// A line of the answer; nobody is left to read it when stdout is closed.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
