//! What is told of slow statements: their text, times and plan, and never a value. One real server.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::postgres::PostgresCluster;
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
    /// The lines with that message.
    fn of(&self, message: &str) -> Vec<BTreeMap<String, String>> {
        let lines = self.lines.lock().unwrap();
        let has = |line: &&BTreeMap<String, String>| line.get("message").is_some_and(|said| said == message);
        lines.iter().filter(has).cloned().collect()
    }

    async fn awaited(&self, message: &str) -> Vec<BTreeMap<String, String>> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let lines = self.of(message);
            if !lines.is_empty() {
                return lines;
            }
            assert!(Instant::now() < end, "never said: {message}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

// One test, because a process has one log.
#[tokio::test]
async fn a_slow_statement_is_told_of_with_its_times_and_its_plan_and_without_a_value() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let cluster = PostgresCluster::single().await.unwrap();
    let url = cluster.create_database("slow").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.max = 1;
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    settings.slow_statement = "300ms".parse().unwrap();
    settings.slow_statement_plan = true;
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    for statement in [
        "CREATE TABLE people (id int PRIMARY KEY, name text)".to_owned(),
        format!("INSERT INTO people VALUES (1, '{CANARY}')"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&postgres)
            .await
            .unwrap();
    }
    let before = log.of("slow statement").len();

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

    let lines = log.of("slow statement").split_off(before);
    let of = |text: &str| {
        lines
            .iter()
            .find(|line| line["statement"].starts_with(text))
            .unwrap()
            .clone()
    };
    let number = |line: &BTreeMap<String, String>, field: &str| line[field].parse::<u64>().unwrap();
    let slept = of("SELECT id");
    assert_eq!(
        slept["statement"],
        "SELECT id, pg_sleep(?) FROM people WHERE name = ? AND name = $1"
    );
    assert_eq!(
        (slept["database"].as_str(), slept["rows"].as_str()),
        ("postgres.default", "1")
    );
    assert!(slept["node"].starts_with("127.0.0.1:"), "{slept:?}");
    assert!(number(&slept, "ran_ms") >= 500, "{slept:?}");
    let queued = of("SELECT ?");
    assert!(number(&queued, "waited_ms") >= 300, "{queued:?}");
    assert!(
        number(&queued, "ran_ms") < number(&queued, "waited_ms"),
        "{queued:?}"
    );

    let plan = log.awaited("plan of a slow statement").await;
    assert!(
        plan[0]["plan"].contains("people") && plan[0]["plan"].contains("(cost="),
        "{plan:?}"
    );

    // A write that was slow is explained, and not done again.
    let transaction: Result<(), sqlx::Error> = postgres
        .transaction(async |mut tx| {
            sqlx::query("SELECT pg_sleep(0.4)")
                .execute(&mut *tx)
                .await
                .map(drop)
        })
        .await;
    transaction.unwrap();
    assert_eq!(log.of("slow transaction").len(), 1);

    let lines = log.lines.lock().unwrap();
    let shown: Vec<_> = lines
        .iter()
        .filter(|line| format!("{line:?}").contains(CANARY))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}
