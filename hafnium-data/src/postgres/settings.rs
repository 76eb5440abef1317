//! The settings of one database: section `postgres`, named instances such as `postgres.ledger`.

use hafnium_core::config::{Alias, Composed, Duration, Section};
use hafnium_core::secret::{Login, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::environment::LIBPQ;
use super::sources::PatroniSettings;

/// The settings of one database.
///
/// ```
/// use hafnium_core::secret::Secret;
/// use hafnium_data::postgres::PostgresSettings;
///
/// let mut settings = PostgresSettings::new(Secret::new("postgres://app@a:5432,b:5432/ledger"));
/// settings.max = 20;
/// ```
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// Where the database is: `postgres://user:password@a:5432,b:5432,c:5432/name`. Name every node; which one is
    /// the primary is found out. Characters with a meaning in URLs are percent-encoded. libpq's `PGHOST`, `PGPORT`,
    /// `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE` and so on make it where nothing else does, and complete what it
    /// leaves out. A new user and password, here or in the keys below, are used as soon as they come.
    #[schemars(extend("x-url-schemes" = ["postgres", "postgresql"]))]
    pub url: Secret,
    /// User and password together, from where they change together: `vault-db:role`, `vault-static:role`, or a document
    /// with `username` and `password` (`aws-sm:name`, `file:/path`). The URL names neither then.
    #[serde(default)]
    pub login: Option<Login>,
    /// The user, where it is kept apart from the URL.
    #[serde(default)]
    pub user: Option<Secret>,
    /// The password or token, where it is kept apart from the URL.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Connections per node and process; default 10. All replicas of all services together must stay below the
    /// server's `max_connections`.
    #[serde(default = "defaults::max")]
    pub max: u32,
    /// Connections kept open to each node without being asked for, standbys included, so that a failover needs no
    /// login; default 2, at most `max`.
    #[serde(default = "defaults::warm")]
    pub warm: u32,
    /// The longest any operation may take, its waits and retries included; default 5 s.
    #[serde(default = "defaults::timeout")]
    pub timeout: Duration,
    /// The longest a login may take, for each address that is tried; default 2 s. `connect_timeout` of the URL wins.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Duration,
    /// The name servers to ask for the hosts of the URL, such as `["10.0.0.2", "10.0.0.3:5353"]` (port 53 where none is
    /// said); default those of the system (`/etc/resolv.conf`). `/etc/hosts` comes first. A host that is a name is asked
    /// for again whenever its time to live is over, and followed when it moves.
    #[serde(default)]
    pub resolver: Vec<String>,
    /// What the server shows for our connections; default `<service>/<instance>`. That of the URL wins.
    #[serde(default)]
    pub application_name: Option<String>,
    /// The server's own limit for one statement; default `timeout` + 1 s, because no caller waits longer. `0s`
    /// switches it off.
    #[serde(default)]
    pub statement_timeout: Option<Duration>,
    /// How long the server lets a transaction of ours sit idle; default `timeout` + 1 s. `0s` switches it off.
    #[serde(default)]
    pub idle_in_transaction_timeout: Option<Duration>,
    /// From when on a statement is slow: a line in the log tells of it, with its text but without any value, how long
    /// it waited and how long it ran; default 1 s. `0s` switches it off.
    #[serde(default = "defaults::slow_statement")]
    pub slow_statement: Duration,
    /// Whether the log also tells the plan of slow statements, of one every ten seconds at most; default false. Asked
    /// by a plain `EXPLAIN` on a connection of its own, which executes nothing.
    #[serde(default)]
    pub slow_statement_plan: bool,
    /// Whether the server keeps prepared statements for us; default `true`. `false` for a pooler in transaction mode
    /// that can't: pgbouncer before 1.21, or with `max_prepared_statements = 0`. Then each statement runs in a
    /// transaction of its own, and what needs a session (`listen`, `acquire`, migrations) is refused.
    #[serde(default = "defaults::prepared_statements")]
    pub prepared_statements: bool,
    /// How far behind the primary a replica may be to be read from; default 10 s.
    #[serde(default = "defaults::max_lag")]
    pub max_lag: Duration,
    /// How long a read under a token waits for a replica that has replayed it, before it goes to the primary; default
    /// 50 ms. `0s`: each replica is asked once.
    #[serde(default = "defaults::rw_wait")]
    pub rw_wait: Duration,
    /// Where reads go when no replica can serve them: `primary` (default), or `none`: they wait for a replica until
    /// their deadline, so that reads never burden the primary.
    #[serde(default)]
    pub reader_fallback: ReaderFallback,
    /// The zone of each host of the URL, in its order, such as `["eu-west-1a", "eu-west-1b", ""]` (empty: not known); default
    /// none. Of the replicas that are near enough, those in the service's own `zone` are read from where there are any.
    #[serde(default)]
    pub zones: Vec<String>,
    /// The node to believe in a split brain, such as `"b:5432"`, which must be one of the URL; default none. Without it
    /// nobody takes writes while two servers say primary with the same timeline. It says nothing at any other time; take
    /// it out when the other server is gone or a standby again.
    #[serde(default)]
    pub split_brain_primary: Option<String>,
    /// Patroni's REST API, as a hint of which node to ask.
    #[serde(default)]
    pub patroni: PatroniSettings,
    /// For how long a key of `exactly_once` is remembered; default 168 h (a week). Older markers are deleted in small
    /// batches by every process that uses it. Must be longer than `timeout`; `0s` keeps them for ever.
    #[serde(default = "defaults::marker_retention")]
    pub marker_retention: Duration,
    /// The longest the migrations may take, waiting for another process that migrates included; default 10 min.
    #[serde(default = "defaults::migration_timeout")]
    pub migration_timeout: Duration,
}

/// Where reads go when no replica can serve them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReaderFallback {
    /// To the primary.
    #[default]
    Primary,
    /// Nowhere: they wait for a replica until their deadline.
    None,
}

mod defaults {
    use super::Duration;

    pub(super) fn max() -> u32 {
        10
    }
    pub(super) fn warm() -> u32 {
        2
    }
    pub(super) fn timeout() -> Duration {
        Duration::from_secs(5)
    }
    pub(super) fn connect_timeout() -> Duration {
        Duration::from_secs(2)
    }
    pub(super) fn slow_statement() -> Duration {
        Duration::from_secs(1)
    }
    pub(super) fn prepared_statements() -> bool {
        true
    }
    pub(super) fn max_lag() -> Duration {
        Duration::from_secs(10)
    }
    pub(super) fn rw_wait() -> Duration {
        Duration::from_millis(50)
    }
    pub(super) fn marker_retention() -> Duration {
        Duration::from_secs(7 * 24 * 3600)
    }
    pub(super) fn migration_timeout() -> Duration {
        Duration::from_secs(600)
    }
}

impl PostgresSettings {
    /// The defaults for the database at `url`.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            login: None,
            user: None,
            password: None,
            max: defaults::max(),
            warm: defaults::warm(),
            timeout: defaults::timeout(),
            connect_timeout: defaults::connect_timeout(),
            resolver: Vec::new(),
            application_name: None,
            statement_timeout: None,
            idle_in_transaction_timeout: None,
            slow_statement: defaults::slow_statement(),
            slow_statement_plan: false,
            prepared_statements: defaults::prepared_statements(),
            max_lag: defaults::max_lag(),
            rw_wait: defaults::rw_wait(),
            reader_fallback: ReaderFallback::default(),
            zones: Vec::new(),
            split_brain_primary: None,
            patroni: PatroniSettings::default(),
            marker_retention: defaults::marker_retention(),
            migration_timeout: defaults::migration_timeout(),
        }
    }

    /// The limit of the server for what a caller of ours has given up: a second later than `timeout`.
    pub(crate) fn server_limit(&self, written: Option<Duration>) -> Duration {
        written.unwrap_or_else(|| (self.timeout.get() + std::time::Duration::from_secs(1)).into())
    }
}

/// The section `postgres` of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct PostgresSection;

impl Section for PostgresSection {
    const KEY: &'static str = "postgres";
    type Settings = PostgresSettings;

    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "DATABASE_URL",
            key: "url",
        }]
    }

    fn composed() -> &'static [Composed] {
        &[LIBPQ]
    }
}
