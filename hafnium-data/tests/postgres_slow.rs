//! What is told of slow statements: their text, times and plan, and never a value. One real server.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::postgres::PostgresCluster;
use sqlx::PgConnection;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What no line may hold.
const CANARY: &str = "c4n4ry-v4lue";

/// Every event of the process, at every level.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.lines.lock().unwrap().push(fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.lines.lock().unwrap().push(fields.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.lines.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log {
    /// That of this process.
    fn get() -> &'static Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            tracing::subscriber::set_global_default(log.clone()).unwrap();
            log
        })
    }

    /// The lines with that message about a server.
    fn of(&self, message: &str, cluster: &PostgresCluster) -> Vec<BTreeMap<String, String>> {
        let lines = self.lines.lock().unwrap();
        let node = format!("127.0.0.1:{}", cluster.port(0));
        let has = |line: &&BTreeMap<String, String>| {
            line.get("message").is_some_and(|said| said == message) && line.get("node") == Some(&node)
        };
        lines.iter().filter(has).cloned().collect()
    }

    async fn awaited(&self, message: &str, cluster: &PostgresCluster) -> Vec<BTreeMap<String, String>> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let lines = self.of(message, cluster);
            if !lines.is_empty() {
                return lines;
            }
            assert!(Instant::now() < end, "never said: {message}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn holds_no_value(&self) {
        let lines = self.lines.lock().unwrap();
        let shown: Vec<_> = lines
            .iter()
            .filter(|line| format!("{line:?}").contains(CANARY))
            .collect();
        assert!(shown.is_empty(), "{shown:?}");
    }
}

/// A handle with one connection on a table with one row, whose name is the [`CANARY`].
async fn people() -> (PostgresCluster, Postgres) {
    let cluster = PostgresCluster::single().await.unwrap();
    let url = cluster.create_database("slow").await.unwrap();
    // By another driver: the handle might be slow, and sqlx logs what it is given.
    let session = cluster.connect(0, "slow").await.unwrap();
    let tables = format!(
        "CREATE TABLE people (id int PRIMARY KEY, name text); GRANT ALL ON people TO PUBLIC; \
         INSERT INTO people VALUES (1, '{CANARY}')"
    );
    session.batch_execute(&tables).await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = 1;
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    settings.slow_statement = "300ms".parse().unwrap();
    settings.slow_statement_plan = true;
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    (cluster, postgres)
}

fn number(line: &BTreeMap<String, String>, field: &str) -> u64 {
    line[field].parse().unwrap()
}

#[tokio::test]
async fn a_slow_statement_is_told_of_with_its_times_and_its_plan_and_without_a_value() {
    let log = Log::get();
    let (cluster, postgres) = people().await;
    let before = log.of("slow statement", &cluster).len();

    // A value in the text and one beside it; a second statement waits for the only connection.
    let text =
        format!("SELECT id, pg_sleep(0.5) FROM people WHERE name = '{CANARY}' AND name = $1 -- {CANARY}");
    let slow = sqlx::query(sqlx::AssertSqlSafe(text)).bind(CANARY);
    let slow = slow.fetch_all(&postgres);
    let waiting = sqlx::query("SELECT 1").fetch_all(&postgres);
    let (rows, waited) = tokio::join!(slow, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        waiting.await
    });
    assert_eq!(rows.unwrap().len(), 1);
    waited.unwrap();

    let lines = log.of("slow statement", &cluster).split_off(before);
    let of = |text: &str| {
        lines
            .iter()
            .find(|line| line["statement"].starts_with(text))
            .unwrap()
            .clone()
    };
    let slept = of("SELECT id");
    assert_eq!(
        slept["statement"],
        "SELECT id, pg_sleep(?) FROM people WHERE name = ? AND name = $1"
    );
    assert_eq!(
        (slept["database"].as_str(), slept["rows"].as_str()),
        ("postgres.default", "1")
    );
    assert!(number(&slept, "ran_ms") >= 500, "{slept:?}");
    let queued = of("SELECT ?");
    assert!(number(&queued, "waited_ms") >= 300, "{queued:?}");
    assert!(
        number(&queued, "ran_ms") < number(&queued, "waited_ms"),
        "{queued:?}"
    );

    let plan = log.awaited("plan of a slow statement", &cluster).await;
    assert!(
        plan[0]["plan"].contains("people") && plan[0]["plan"].contains("(cost="),
        "{plan:?}"
    );
    log.holds_no_value();
}

/// A write of a row that takes so many seconds, with a value in its text and one beside it. `mark` tells it from others.
fn rename(
    mark: &str,
    seconds: f64,
) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let text = format!(
        "UPDATE people SET name = $1 FROM pg_sleep({seconds}) AS {mark} WHERE name = '{CANARY}' RETURNING id"
    );
    sqlx::query(sqlx::AssertSqlSafe(text)).bind(CANARY)
}

#[tokio::test]
async fn slow_statements_of_transactions_and_sessions_are_told_of_too_and_explained_without_being_run_again()
{
    let log = Log::get();
    let (cluster, postgres) = people().await;
    let slow = |mark: &str| {
        let lines = log.of("slow statement", &cluster);
        let mut lines = lines
            .into_iter()
            .filter(|line| line["statement"].contains(&format!("AS {mark} ")));
        (lines.next(), lines.count())
    };

    let transaction: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            sqlx::query("SELECT 1").execute(&mut *tx).await?;
            rename("whole", 0.4).execute(&mut *tx).await?;
            let mut rows = rename("streamed", 0.4).fetch(&mut *tx);
            while rows.try_next().await?.is_some() {}
            // What its reader does after the end is not its time.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(slow("streamed").0.is_some());
            drop(rows);
            let mut part = tx.savepoint().await?;
            rename("part", 0.4).fetch_one(&mut *part).await?;
            let mut nested = part.savepoint().await?;
            rename("nested", 0.4).fetch_one(&mut *nested).await?;
            nested.commit().await?;
            part.rollback().await?;
            // For a function that wants the bare connection.
            bare(&mut tx, "unseen").await
        })
        .await;
    transaction.unwrap();
    for mark in ["whole", "streamed", "part", "nested"] {
        let (line, more) = slow(mark);
        let line = line.unwrap();
        assert_eq!(more, 0, "{mark}");
        assert_eq!(
            line["statement"],
            format!("UPDATE people SET name = $1 FROM pg_sleep(?) AS {mark} WHERE name = ? RETURNING id")
        );
        assert_eq!(
            (line["rows"].as_str(), line["waited_ms"].as_str()),
            ("1", "0"),
            "{mark}"
        );
        assert!(number(&line, "ran_ms") >= 400, "{line:?}");
    }
    assert!(slow("unseen").0.is_none());
    let whole = log.lines.lock().unwrap().clone();
    let whole = whole
        .iter()
        .filter(|line| line.get("message").is_some_and(|said| said == "slow transaction"))
        .count();
    assert_eq!(whole, 1);
    // Explained on another connection, while it was still open.
    let plan = log.awaited("plan of a slow statement", &cluster).await;
    assert!(
        plan[0]["plan"].contains("Update on people") && plan[0]["statement"].contains("AS whole "),
        "{plan:?}"
    );

    // One that is given up is the one to look for.
    let given_up: Result<(), sqlx::Error> = postgres
        .within(Duration::from_millis(1500))
        .transaction(async |mut tx| rename("given_up", 20.0).execute(&mut *tx).await.map(drop))
        .await;
    given_up.unwrap_err();
    let (line, _) = slow("given_up");
    assert!(!line.unwrap().contains_key("rows"));

    let mut session = postgres.acquire().await.unwrap();
    rename("session", 0.4).execute(&mut session).await.unwrap();
    assert_eq!(slow("session").0.unwrap()["rows"], "1");
    log.holds_no_value();
}

async fn bare(connection: &mut PgConnection, mark: &str) -> Result<(), sqlx::Error> {
    rename(mark, 0.4).execute(connection).await.map(drop)
}
