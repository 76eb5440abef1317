//! A database of a case's own, a handle on it, and what is measured of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::propagation::Propagation;
use hafnium_core::secret::Secret;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Classify, Context, Outcome, ServiceInfo};
use hafnium_data::postgres::{Postgres, PostgresSettings, Tx, classify};
use hafnium_testkit::postgres::{PostgresCluster, Session};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::recorded::Recorded;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// The server that cases share which do not break it.
pub(crate) async fn shared() -> &'static PostgresCluster {
    CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
        .await
}

/// `act(state, times)` fails with `state` for the first `times` calls, rolled back or not, and then returns which call it
/// was. A row in `late` calls it at COMMIT.
const ACTORS: &str = "
CREATE TABLE t (id int PRIMARY KEY);
CREATE TABLE late (state text, times int);
CREATE SEQUENCE calls;
CREATE FUNCTION act(state text, times int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE call int := nextval('calls');
BEGIN
    IF call <= times AND state = 'slow' THEN PERFORM pg_sleep(30); END IF;
    IF call <= times THEN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'made to happen'; END IF;
    RETURN call;
END $$;
CREATE FUNCTION act_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM act(NEW.state, NEW.times); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION act_late();
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;";

/// What the metrics count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) not_run: u64,
    pub(crate) rolled_back: u64,
    pub(crate) unknown: u64,
    pub(crate) retries: u64,
    pub(crate) unknown_outcomes: u64,
    pub(crate) suspected: u64,
}

/// What is expected of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// What the caller is told; `None` for success.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) retries: u64,
    pub(crate) suspected: bool,
    /// Whether the connection that was used first is still in use afterwards.
    pub(crate) kept: bool,
}

/// A handle with one connection to a database of its own.
pub(crate) struct Place {
    pub(crate) postgres: Postgres,
    pub(crate) database: String,
    pub(crate) session: Session,
    recorded: Recorded,
}

pub(crate) fn unique(case: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{case}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Place {
    pub(crate) async fn new(case: &str) -> Self {
        Self::on(shared().await, case, |_| {}, None).await
    }

    pub(crate) async fn with(case: &str, change: impl FnOnce(&mut PostgresSettings)) -> Self {
        Self::on(shared().await, case, change, None).await
    }

    /// By way of `via`, which leads to the shared server.
    pub(crate) async fn via(case: &str, via: SocketAddr) -> Self {
        Self::on(shared().await, case, |_| {}, Some(via)).await
    }

    pub(crate) async fn on(
        cluster: &PostgresCluster,
        case: &str,
        change: impl FnOnce(&mut PostgresSettings),
        via: Option<SocketAddr>,
    ) -> Self {
        let database = unique(case);
        let mut url = cluster.create_database(&database).await.unwrap();
        let primary = cluster.primary();
        let session = cluster.connect(primary, &database).await.unwrap();
        session.batch_execute(ACTORS).await.unwrap();
        if let Some(via) = via {
            let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(primary)));
            url = url.replace(&server.to_string(), &via.to_string());
        }
        Self::at(&url, database, session, change).await
    }

    /// A handle on `url`, whatever it leads to.
    pub(crate) async fn at(
        url: &str,
        database: String,
        session: Session,
        change: impl FnOnce(&mut PostgresSettings),
    ) -> Self {
        let mut settings = PostgresSettings::new(Secret::new(url));
        (settings.max, settings.warm) = (1, 0);
        change(&mut settings);
        let recorded = Recorded::new();
        let postgres = Postgres::connect(settings, &context(&recorded)).await.unwrap();
        Self {
            postgres,
            database,
            session,
            recorded,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        counts(&self.recorded, &self.postgres)
    }

    /// The session of the handle's connection.
    pub(crate) async fn pid(&self) -> i32 {
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
        pid.fetch_one(&self.postgres).await.unwrap()
    }

    /// How often `act` was called.
    pub(crate) async fn calls(&self) -> i64 {
        let row = self
            .session
            .query_one("SELECT last_value FROM calls WHERE is_called", &[]);
        row.await.map_or(0, |row| row.get(0))
    }

    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let count = format!("SELECT count(*) FROM {table}");
        self.session.query_one(&count, &[]).await.unwrap().get(0)
    }

    /// Waits until a session of the application is in `condition` of `pg_stat_activity`; its pid.
    pub(crate) async fn session_where(&self, condition: &str) -> i32 {
        let sessions = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid() \
             AND application_name <> 'hafnium-testkit' AND {condition} LIMIT 1",
            self.database
        );
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(row) = self.session.query_opt(&sessions, &[]).await.unwrap() {
                return row.get(0);
            }
            assert!(Instant::now() < end, "no session where {condition}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs `operation`, and compares what it told, what was counted and what became of the connection.
    pub(crate) async fn sees<T: std::fmt::Debug>(
        &self,
        expected: Expected,
        operation: impl AsyncFnOnce(&Postgres) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let pid = self.pid().await;
        let before = self.counts();
        let result = operation(&self.postgres).await;
        let after = self.counts();
        let told = result.as_ref().err().map(|error| classify(error).outcome());
        assert_eq!(told, expected.outcome, "{result:?}");
        let one = |outcome| u64::from(expected.outcome == outcome);
        let wanted = Counts {
            done: one(None),
            not_run: one(Some(Outcome::NotRun)),
            rolled_back: one(Some(Outcome::RolledBack)),
            unknown: one(Some(Outcome::Unknown)),
            retries: expected.retries,
            unknown_outcomes: one(Some(Outcome::Unknown)),
            suspected: 0,
        };
        let suspected = after.suspected - before.suspected;
        let counted = Counts {
            done: after.done - before.done,
            not_run: after.not_run - before.not_run,
            rolled_back: after.rolled_back - before.rolled_back,
            unknown: after.unknown - before.unknown,
            retries: after.retries - before.retries,
            unknown_outcomes: after.unknown_outcomes - before.unknown_outcomes,
            suspected: 0,
        };
        assert_eq!(counted, wanted, "{result:?}");
        assert_eq!(
            suspected > 0,
            expected.suspected,
            "suspected {suspected} times: {result:?}"
        );
        assert_eq!(
            self.pid().await == pid,
            expected.kept,
            "the same session afterwards: {result:?}"
        );
        let node = &self.postgres.nodes()[0];
        assert_eq!((node.in_use, node.state), (0, "up"), "{node:?}");
        result
    }
}

pub(crate) fn context(recorded: &Recorded) -> Context {
    Context::new(
        ServiceInfo::new("outcomes", "0"),
        Registry::new(),
        recorded.metrics.clone(),
        Propagation::none(),
        Tasks::new(),
        Watch::fixed(State::Ready),
    )
}

pub(crate) fn counts(recorded: &Recorded, postgres: &Postgres) -> Counts {
    let number = |name: &str, label: &str| {
        let value = recorded.value(name, label);
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    };
    let ended = |outcome: &str| {
        let label = format!("hafnium_outcome=\"{outcome}\"");
        number("db_client_operation_duration_seconds_count", &label)
    };
    let suspected = |node: &str| {
        let label = format!("server_address=\"{node}\"");
        number("hafnium_postgres_suspected_total", &label)
    };
    Counts {
        done: ended("done"),
        not_run: ended("not_run"),
        rolled_back: ended("rolled_back"),
        unknown: ended("unknown"),
        retries: number("hafnium_postgres_retries_total", ""),
        unknown_outcomes: number("hafnium_postgres_unknown_outcomes_total", ""),
        suspected: postgres.nodes().iter().map(|node| suspected(&node.node)).sum(),
    }
}

/// Inserts what `act` returns.
pub(crate) async fn act(
    executor: impl sqlx::PgExecutor<'_>,
    state: &str,
    times: i32,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO t SELECT act($1, $2)");
    insert.bind(state).bind(times).execute(executor).await.map(drop)
}

/// Lets `act` be called at COMMIT.
pub(crate) async fn act_late(tx: &mut Tx, state: &str, times: i32) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO late VALUES ($1, $2)");
    insert.bind(state).bind(times).execute(&mut **tx).await.map(drop)
}

pub(crate) fn code(error: &sqlx::Error) -> &'static str {
    classify(error).code()
}
