//! Migrations on the primary, once, however many processes start at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use hafnium_core::{Classify, Deadline, Fault, Outcome};
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnection;

use super::error::classify;
use super::handle::Postgres;
use super::operation::guarded;
use super::route::Destination;

/// What [`Postgres::migrate`] found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Migrated {
    /// Versions that were applied now.
    pub applied: Vec<i64>,
    /// Versions in the database that are newer than all this program knows: it was rolled back.
    pub ahead: Vec<i64>,
}

/// Why the migrations did not go through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// An earlier run failed half-way; someone has to repair the database.
    #[error("migration {0} was applied in part by an earlier run; repair the database and delete its row")]
    Dirty(i64),
    /// The database has a migration that this program does not know, between those that it knows.
    #[error(
        "the database has migration {version}, which this program lacks although it knows newer ones (up to {newest})"
    )]
    Missing {
        /// The unknown version.
        version: i64,
        /// The newest version this program knows.
        newest: i64,
    },
    /// A migration was changed after it had been applied.
    #[error("migration {0} was changed after it had been applied")]
    Changed(i64),
    /// Applying failed.
    #[error("migration {version} failed")]
    Failed {
        /// The migration.
        version: i64,
        /// Why.
        source: Box<MigrateError>,
    },
    /// The database could not be asked.
    #[error("migrations could not be checked")]
    Database(#[from] sqlx::Error),
}

impl Classify for MigrationError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Dirty(_) | Self::Missing { .. } | Self::Changed(_) => Outcome::NotRun,
            Self::Failed { .. } => Outcome::Unknown,
            Self::Database(error) => classify(error).outcome(),
        }
    }
    fn retryable(&self) -> bool {
        match self {
            // What was applied is not applied again.
            Self::Database(error) => classify(error).retryable(),
            _ => false,
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => classify(error).fault(),
            _ => Fault::Service,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Dirty(_) => "postgres.migration_dirty",
            Self::Missing { .. } => "postgres.migration_missing",
            Self::Changed(_) => "postgres.migration_changed",
            Self::Failed { .. } => "postgres.migration_failed",
            Self::Database(error) => classify(error).code(),
        }
    }
}

impl Postgres {
    /// Applies the pending migrations of `migrator` on the primary, under sqlx's advisory lock: processes that start
    /// at the same time wait for the first. Runs on a connection of its own without a statement limit, for no longer
    /// than `migration_timeout` of the settings.
    ///
    /// A program that was rolled back must start: migrations that are newer than all it knows are accepted and named
    /// in [`Migrated::ahead`] and a log line; unknown ones in between are refused. So expand first, and contract a
    /// release later.
    ///
    /// # Errors
    /// [`MigrationError`]; nothing that was applied is undone, and calling again goes on from there. When another node becomes
    /// the primary meanwhile they end as [`Detail::Cut`](super::Detail::Cut), whatever the old one says.
    ///
    /// Cancel-safety: dropping the future closes the connection; the migration in flight is rolled back unless it
    /// asked for no transaction.
    pub async fn migrate(&self, migrator: &Migrator) -> Result<Migrated, MigrationError> {
        self.client()
            .opening
            .session("the lock of migrations")
            .map_err(sqlx::Error::from)?;
        let limit = self.shared.settings.migration_timeout.get();
        let deadline = Deadline::nearest(limit);
        // Named by a lease on the writer; the migration itself must not hold a connection of the pool.
        let lease = self
            .client()
            .acquire(Destination::Writer, &[], self.view().deadline())
            .await?;
        // Of the time when the node was known to be the primary: what ends the operations of then ends the migrations.
        let (node, cut) = (lease.node().clone(), lease.cut());
        drop(lease);
        // Boxed, because the futures are large and their callers hold them in their own.
        let login = Box::pin(node.opener.open_apart(unlimited));
        let waited_for = "a login for migrations";
        let mut link = guarded(&cut, &node.label, deadline, waited_for, Outcome::NotRun, login).await?;
        let applied = Box::pin(async { Ok(apply(&mut link, migrator).await) });
        let waited_for = "the migrations";
        let migrated = guarded(&cut, &node.label, deadline, waited_for, Outcome::Unknown, applied).await?;
        // The lock goes with the connection.
        drop(link);
        let migrated = migrated?;
        if !migrated.ahead.is_empty() {
            tracing::warn!(
                versions = ?migrated.ahead,
                "the database is ahead of this program: accepted, as after a rollback of the program"
            );
        }
        Ok(migrated)
    }
}

/// A limit for single statements would end long migrations half-way.
fn unlimited(options: sqlx::postgres::PgConnectOptions) -> sqlx::postgres::PgConnectOptions {
    options.options([
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ])
}

async fn apply(link: &mut PgConnection, migrator: &Migrator) -> Result<Migrated, MigrationError> {
    let table = &migrator.table_name;
    link.lock().await.map_err(database)?;
    for schema in migrator.create_schemas.iter() {
        link.create_schema_if_not_exists(schema).await.map_err(database)?;
    }
    link.ensure_migrations_table(table).await.map_err(database)?;
    if let Some(version) = link.dirty_version(table).await.map_err(database)? {
        return Err(MigrationError::Dirty(version));
    }
    let applied = link.list_applied_migrations(table).await.map_err(database)?;
    let mut migrated = Migrated {
        ahead: compare(&applied, migrator)?,
        ..Migrated::default()
    };
    let known: Vec<i64> = applied.iter().map(|applied| applied.version).collect();
    for migration in migrator.iter() {
        if migration.migration_type.is_down_migration() || known.contains(&migration.version) {
            continue;
        }
        let version = migration.version;
        let took: Duration = link
            .apply(table, migration)
            .await
            .map_err(|source| MigrationError::Failed {
                version,
                source: Box::new(source),
            })?;
        tracing::info!(version, description = %migration.description, ?took, "migration applied");
        migrated.applied.push(version);
    }
    Ok(migrated)
}

/// The versions in the database that are newer than all that is known.
fn compare(applied: &[AppliedMigration], migrator: &Migrator) -> Result<Vec<i64>, MigrationError> {
    let known: BTreeMap<i64, &[u8]> = migrator
        .iter()
        .filter(|migration| !migration.migration_type.is_down_migration())
        .map(|migration| (migration.version, &*migration.checksum))
        .collect();
    let newest = known.keys().next_back().copied().unwrap_or(i64::MIN);
    let mut ahead = Vec::new();
    for applied in applied {
        let version = applied.version;
        match known.get(&version) {
            Some(checksum) if **checksum == *applied.checksum => {}
            Some(_) => return Err(MigrationError::Changed(version)),
            None if version > newest => ahead.push(version),
            None => return Err(MigrationError::Missing { version, newest }),
        }
    }
    Ok(ahead)
}

fn database(error: MigrateError) -> MigrationError {
    MigrationError::Database(match error {
        MigrateError::Execute(error) => error,
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use sqlx::SqlSafeStr;
    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    fn migration(version: i64) -> Migration {
        let sql = "SELECT 1".into_sql_str();
        Migration::new(version, "test".into(), MigrationType::Simple, sql, false)
    }

    fn found(versions: &[i64]) -> Result<Vec<i64>, MigrationError> {
        let migrator = Migrator::with_migrations(vec![migration(10), migration(20)]);
        let applied: Vec<_> = versions
            .iter()
            .map(|version| AppliedMigration {
                version: *version,
                checksum: migration(*version).checksum,
            })
            .collect();
        compare(&applied, &migrator)
    }

    #[test]
    fn newer_migrations_are_accepted_and_unknown_ones_in_between_are_not() {
        assert_eq!(found(&[]).unwrap(), Vec::<i64>::new());
        assert_eq!(found(&[10, 20, 30, 40]).unwrap(), [30, 40]);
        let error = found(&[10, 15, 20]).unwrap_err();
        assert!(matches!(
            error,
            MigrationError::Missing {
                version: 15,
                newest: 20
            }
        ));
    }

    #[test]
    fn a_changed_migration_is_refused() {
        let migrator = Migrator::with_migrations(vec![migration(10)]);
        let applied = [AppliedMigration {
            version: 10,
            checksum: vec![0].into(),
        }];
        assert!(matches!(
            compare(&applied, &migrator),
            Err(MigrationError::Changed(10))
        ));
    }
}
