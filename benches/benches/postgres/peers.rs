//! The contenders, each set up as its own documentation says.

use std::future::Future;

use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime};
use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_postgres::NoTls;

pub(crate) const NAMES: [&str; 4] = [
    "hafnium",
    "sqlx::PgPool",
    "sqlx::PgPool tuned",
    "deadpool-postgres",
];

/// At least so much throughput and at most so much p99, as ratios to the contender of that index.
pub(crate) const TARGETS: [(f64, f64); 4] = [(1.0, 1.0), (1.5, 1.0), (1.1, 1.0), (0.9, 1.1)];

/// What is asked. The number that goes in comes back, so that a wrong answer is seen.
#[derive(Clone, Copy)]
pub(crate) enum Query {
    /// Nothing but the way there and back.
    One,
    /// One row of many by its key.
    Read,
    /// One row, committed.
    Insert,
}

impl Query {
    pub(crate) const ALL: [Self; 3] = [Self::One, Self::Read, Self::Insert];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "SELECT $1",
            Self::Read => "read by key",
            Self::Insert => "insert",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::One => "SELECT $1::int8",
            Self::Read => "SELECT id FROM account WHERE id = $1",
            Self::Insert => "INSERT INTO payment (id, amount) VALUES ($1, 7) RETURNING id",
        }
    }
}

/// One contender, with a pool of its own.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// Asks and checks the answer.
    fn ask(&self, query: Query, number: i64) -> impl Future<Output = Result<(), String>> + Send;
}

pub(crate) struct Peers {
    pub(crate) ours: Contender<Postgres>,
    pub(crate) defaults: Contender<PgPool>,
    pub(crate) tuned: Contender<PgPool>,
    pub(crate) deadpool: Contender<deadpool_postgres::Pool>,
}

#[derive(Clone)]
pub(crate) struct Contender<P> {
    pool: P,
    /// Rows of the table that is read from, with the ids 0 to that.
    rows: i64,
}

impl Peers {
    /// Connects all and fills the tables.
    pub(crate) async fn connect(url: &str, connections: u32, rows: i64) -> Self {
        let ours = ours(url, connections).await;
        let defaults = PgPoolOptions::new().max_connections(connections);
        let tuned = defaults.clone().test_before_acquire(false);
        println!(
            "hafnium: max = {connections}, otherwise defaults\n\
             sqlx::PgPool: max_connections = {connections}, otherwise defaults \
             (https://docs.rs/sqlx/0.9.0/sqlx/pool/struct.PoolOptions.html)\n\
             sqlx::PgPool tuned: also test_before_acquire(false)\n\
             deadpool-postgres: max_size = {connections}, RecyclingMethod::Fast, prepare_cached \
             (https://docs.rs/deadpool-postgres/0.14.2/deadpool_postgres/)"
        );
        let defaults = defaults.connect(url).await.expect("a pool of sqlx");
        let tuned = tuned.connect(url).await.expect("a pool of sqlx");
        let deadpool = deadpool(url, connections as usize);
        for text in [
            "CREATE TABLE account (id int8 PRIMARY KEY, balance int8 NOT NULL)".to_owned(),
            format!(
                "INSERT INTO account SELECT id, 1000 FROM generate_series(0, {}) AS id",
                rows - 1
            ),
            "CREATE TABLE payment (id int8 PRIMARY KEY, amount int8 NOT NULL)".to_owned(),
            "ANALYZE account".to_owned(),
        ] {
            let filled = sqlx::query(sqlx::AssertSqlSafe(text)).execute(&defaults).await;
            filled.expect("tables");
        }
        let settings: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'shared_buffers', 'fsync', \
             'synchronous_commit', 'max_connections']) AS name",
        )
        .fetch_all(&defaults)
        .await
        .expect("the settings of the server");
        let settings: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        println!("the server: {}; {rows} rows to read", settings.join(", "));
        Self {
            ours: Contender::new(ours, rows),
            defaults: Contender::new(defaults, rows),
            tuned: Contender::new(tuned, rows),
            deadpool: Contender::new(deadpool, rows),
        }
    }
}

pub(crate) async fn ours(url: &str, connections: u32) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = connections;
    let postgres = Postgres::connect(settings, &Context::standalone()).await;
    postgres.expect("a writable primary")
}

fn deadpool(url: &str, connections: usize) -> deadpool_postgres::Pool {
    let mut config = deadpool_postgres::Config::new();
    config.url = Some(url.to_owned());
    config.pool = Some(deadpool_postgres::PoolConfig::new(connections));
    config.manager = Some(ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    });
    let pool = config.create_pool(Some(Runtime::Tokio1), NoTls);
    pool.expect("a pool of deadpool-postgres")
}

impl<P> Contender<P> {
    pub(crate) fn new(pool: P, rows: i64) -> Self {
        Self { pool, rows }
    }

    pub(crate) fn pool(&self) -> &P {
        &self.pool
    }

    /// What is asked for, so that it exists.
    fn key(&self, query: Query, number: i64) -> i64 {
        match query {
            // Spread over the table, as far as its size and the factor share no divisor.
            Query::Read => number.wrapping_mul(7_919).rem_euclid(self.rows),
            Query::One | Query::Insert => number,
        }
    }
}

fn same(asked: i64, answered: i64) -> Result<(), String> {
    if asked == answered {
        Ok(())
    } else {
        Err(format!("asked for {asked}, was answered {answered}"))
    }
}

impl Peer for Contender<Postgres> {
    async fn ask(&self, query: Query, number: i64) -> Result<(), String> {
        let key = self.key(query, number);
        let query = sqlx::query_scalar(query.text()).bind(key);
        let answer = query.fetch_one(&self.pool).await;
        same(key, answer.map_err(|error| error.to_string())?)
    }
}

impl Peer for Contender<PgPool> {
    async fn ask(&self, query: Query, number: i64) -> Result<(), String> {
        let key = self.key(query, number);
        let query = sqlx::query_scalar(query.text()).bind(key);
        let answer = query.fetch_one(&self.pool).await;
        same(key, answer.map_err(|error| error.to_string())?)
    }
}

impl Peer for Contender<deadpool_postgres::Pool> {
    async fn ask(&self, query: Query, number: i64) -> Result<(), String> {
        let key = self.key(query, number);
        let client = self.pool.get().await.map_err(|error| error.to_string())?;
        let answer = async {
            let statement = client.prepare_cached(query.text()).await?;
            client.query_one(&statement, &[&key]).await?.try_get(0)
        };
        same(
            key,
            answer
                .await
                .map_err(|error: tokio_postgres::Error| error.to_string())?,
        )
    }
}
