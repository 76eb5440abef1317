//! `migrate`: the schema of every declared database, for an init container.

use std::io::Write;

use hafnium_core::config::Section;
use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::{self, Progress};
use hafnium_core::{Classify, Component, Context, Deadline, Fault};
use hafnium_data::postgres::{MigrationError, PostgresSection};

use crate::assembly::{Clients, assemble};
use crate::declaration::{Declarations, Dependency};
use crate::ending::Ending;
use crate::runtime::{self, RuntimeSettings};
use crate::secrets;
use crate::service::Service;
use crate::setup::SetupError;

/// Applies the migrations of every declared database. Needs nothing but the databases.
pub(crate) fn migrate<S>(service: Service<S>) -> Result<Ending, Ending> {
    let Service {
        name,
        mut declarations,
        loader,
        ..
    } = service;
    let databases = declarations
        .dependencies
        .iter()
        .any(|dependency| matches!(dependency, Dependency::Postgres(_)));
    declarations.dependencies.retain(|dependency| {
        matches!(dependency, Dependency::Postgres(declaration) if declaration.migrations.is_some())
    });
    // What else is declared need not even be configured here.
    declarations.upstreams.clear();
    if declarations.dependencies.is_empty() {
        return Err(nothing_to_migrate(name, databases));
    }
    let config = loader
        .environment_optional()
        .needs([PostgresSection::KEY])
        .load()?;
    let runtime = runtime::build(&config.get::<RuntimeSettings>()?)?;
    runtime.block_on(secrets::during(&config, async |secrets, deadline| {
        let context = Context::standalone().with_secrets(secrets.clone());
        let assembly = assemble(&declarations, &config, &context)?;
        lifecycle::start(&assembly.components, &context, deadline, &Progress::new()).await?;
        let migrated = migrate_all(&declarations, &assembly.clients).await;
        for (_, client) in &assembly.clients.postgres {
            let _ = client
                .stop(Deadline::after(std::time::Duration::from_secs(1)))
                .await;
        }
        migrated?;
        Ok(Ending::clean())
    }))
}

fn nothing_to_migrate(name: &str, databases: bool) -> Ending {
    let lacks = match databases {
        true => "no migrations of its databases",
        false => "no database",
    };
    Ending::new(
        Exit::Usage,
        format!("{name} declares {lacks}, so there is nothing to migrate"),
    )
}

/// Applies what is missing, database by database, and says what was done.
pub(crate) async fn migrate_all(declarations: &Declarations, clients: &Clients) -> Result<(), Ending> {
    for dependency in &declarations.dependencies {
        #[allow(
            irrefutable_let_patterns,
            reason = "which other dependencies exist depends on the features"
        )]
        let Dependency::Postgres(declaration) = dependency else {
            continue;
        };
        let client = clients
            .postgres
            .iter()
            .find(|(name, _)| *name == declaration.name);
        let (Some(migrations), Some((name, client))) = (declaration.migrations, client) else {
            continue;
        };
        let migrated = client.migrate(migrations).await.map_err(|error| {
            let exit = match &error {
                MigrationError::Dirty(_) | MigrationError::Missing { .. } | MigrationError::Changed(_) => {
                    Exit::Configuration
                }
                error if error.fault() == Fault::Dependency => Exit::Unavailable,
                _ => Exit::Failure,
            };
            Ending::new(
                exit,
                format!("postgres.{name}: migration failed: {}", SetupError::from(error)),
            )
        })?;
        let said = match (migrated.applied.len(), migrated.ahead.as_slice()) {
            (0, []) => "up to date".to_owned(),
            (applied, []) => format!("{applied} applied"),
            (applied, ahead) => {
                format!(
                    "{applied} applied; the database is ahead of this program by {ahead:?}: it was rolled back"
                )
            }
        };
        let _ = writeln!(std::io::stderr(), "postgres.{name}: migrations: {said}");
    }
    Ok(())
}
