//! What a server allows and what a process of ours takes of it, for the command `check`.

use sqlx::Row;

use super::handle::Postgres;

/// Of each node: its pool, and the connection of its probe.
const PROBE: u32 = 1;

/// What a server allows, and what a process takes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Which cluster answered: its system identifier.
    pub system: i64,
    /// `max_connections` without those that are reserved for superusers.
    pub allowed: u32,
    /// Connections of other users at the moment.
    pub others: u32,
    /// The most that one process of this service opens to this server.
    pub per_process: u32,
    /// The statement that would let the service see more, such as how far replicas have received; `None` when it sees
    /// all there is.
    pub grant: Option<String>,
}

impl Postgres {
    /// Asks the server that the handle works on how many connections there may be.
    ///
    /// # Errors
    /// Those of a statement.
    ///
    /// Cancel-safe.
    pub async fn capacity(&self) -> Result<Capacity, sqlx::Error> {
        const QUESTION: &str = "\
SELECT (SELECT system_identifier FROM pg_control_system()), \
       current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4 \
           - coalesce(current_setting('reserved_connections', true)::int4, 0), \
       (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usename <> current_user)::int4, \
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), \
       quote_ident(current_user)";
        let row = sqlx::query(QUESTION).fetch_one(self).await?;
        let count =
            |column| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i32, _>(column)?).unwrap_or_default());
        let user: String = row.try_get(4)?;
        let sees_all: bool = row.try_get(3)?;
        Ok(Capacity {
            system: row.try_get(0)?,
            allowed: count(1)?,
            others: count(2)?,
            per_process: self.shared.settings.max.saturating_add(PROBE),
            grant: (!sees_all).then(|| format!("GRANT pg_read_all_stats TO {user}")),
        })
    }
}
