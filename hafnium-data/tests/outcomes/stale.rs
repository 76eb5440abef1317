//! Prepared statements that the server does not know as the client thinks.

use std::sync::atomic::{AtomicU32, Ordering};

use hafnium_core::Outcome;
use hafnium_data::postgres::Postgres;

use super::place::{Expected, Place, code};
use super::{Case, Made};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "26000",
            "DEALLOCATE ALL behind the client's back",
            "not run",
            "the connection's statements are forgotten, connection kept, repeated once",
            Made::Server,
            deallocated,
        ),
        Case::new(
            "26000",
            "the same in a transaction",
            "rolled back",
            "the same after a ROLLBACK; the closure runs again, once",
            Made::Server,
            deallocated_in_transaction,
        ),
        Case::new(
            "42P05",
            "PREPARE of the client's next name behind its back",
            "not run",
            "the connection's statements are forgotten, connection kept, repeated once",
            Made::Server,
            prepared,
        ),
        Case::new(
            "0A000",
            "ALTER TABLE changes what a prepared statement returns",
            "not run",
            "the connection's statements are forgotten, connection kept, repeated once",
            Made::Server,
            altered,
        ),
        Case::new(
            "0A000",
            "the same in a transaction",
            "rolled back",
            "the same after a ROLLBACK; the closure runs again, once",
            Made::Server,
            altered_in_transaction,
        ),
        Case::new(
            "0A000",
            "what the server can't do at all",
            "rolled back",
            "connection kept, surfaced",
            Made::Server,
            not_supported,
        ),
    ]
}

const REPEATED: Expected = Expected {
    outcome: None,
    retries: 1,
    suspected: false,
    kept: true,
};

/// The statement that is prepared; its text is its key in the client.
async fn read(executor: impl sqlx::PgExecutor<'_>) -> Result<usize, sqlx::Error> {
    use sqlx::Row;
    let row = sqlx::query("SELECT * FROM t WHERE id = $1")
        .bind(1)
        .fetch_one(executor)
        .await?;
    Ok(row.columns().len())
}

async fn raw(postgres: &Postgres, sql: &'static str) {
    sqlx::raw_sql(sql).execute(postgres).await.unwrap();
}

async fn with_row(case: &str) -> Place {
    let place = Place::new(case).await;
    place
        .session
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert_eq!(read(&place.postgres).await.unwrap(), 1);
    place
}

async fn deallocated() {
    let place = with_row("deallocated").await;
    let pid = place.pid().await;
    raw(&place.postgres, "DEALLOCATE ALL").await;
    let before = place.counts();
    assert_eq!(read(&place.postgres).await.unwrap(), 1);
    let after = place.counts();
    assert_eq!((after.done - before.done, after.retries - before.retries), (1, 1));
    assert_eq!((after.suspected, after.unknown_outcomes), (before.suspected, 0));
    assert_eq!(place.pid().await, pid, "the connection is kept");
    assert_eq!(
        place.counts().retries,
        after.retries,
        "its other statements are forgotten too"
    );
}

async fn deallocated_in_transaction() {
    let place = with_row("deallocatedtx").await;
    let runs = AtomicU32::new(0);
    let (postgres, counted) = (&place.postgres, &runs);
    let pid = place.pid().await;
    let before = place.counts();
    let columns = postgres
        .transaction(async |mut tx| -> Result<usize, sqlx::Error> {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *tx).await?;
            }
            read(&mut *tx).await
        })
        .await;
    assert_eq!((columns.unwrap(), runs.load(Ordering::Relaxed)), (1, 2));
    let after = place.counts();
    assert_eq!((after.done - before.done, after.retries - before.retries), (1, 1));
    assert_eq!((place.pid().await, place.counts().retries), (pid, after.retries));
}

async fn prepared() {
    let place = with_row("prepared").await;
    place.pid().await;
    // The statement that asks for the names has one of them.
    let last = "SELECT max(substr(name, 8)::int) FROM pg_prepared_statements WHERE name LIKE 'sqlx_s_%'";
    let last: i32 = sqlx::query_scalar(last).fetch_one(&place.postgres).await.unwrap();
    take_name(&place.postgres, last + 1).await;
    place
        .sees(REPEATED, async |postgres| {
            sqlx::query("SELECT id, 'new' FROM t").execute(postgres).await
        })
        .await
        .unwrap();

    // With more names taken than it is repeated.
    let place = with_row("preparedtwice").await;
    let pid = place.pid().await;
    for name in 1..40 {
        take_name(&place.postgres, name).await;
    }
    let before = place.counts();
    let error = sqlx::query("SELECT id, 'new' FROM t")
        .execute(&place.postgres)
        .await
        .unwrap_err();
    assert_eq!(code(&error), "postgres.42P05");
    let after = place.counts();
    assert_eq!(
        (after.not_run - before.not_run, after.retries - before.retries),
        (1, 1)
    );
    assert_eq!((after.suspected, after.unknown_outcomes), (before.suspected, 0));
    raw(&place.postgres, "DEALLOCATE ALL").await;
    assert_eq!(place.pid().await, pid, "the connection is kept");
}

/// Takes a name for a prepared statement, unless it is taken.
async fn take_name(postgres: &Postgres, name: i32) {
    let prepare = format!("PREPARE sqlx_s_{name} AS SELECT 1");
    let _taken = sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))
        .execute(postgres)
        .await;
}

async fn altered() {
    let place = with_row("altered").await;
    let session = &place.session;
    let columns = place
        .sees(REPEATED, async |postgres| {
            session.batch_execute("ALTER TABLE t ADD more int").await.unwrap();
            read(postgres).await
        })
        .await;
    assert_eq!(columns.unwrap(), 2, "the new column is there");
}

async fn altered_in_transaction() {
    let place = with_row("alteredtx").await;
    let session = &place.session;
    let columns = place
        .sees(REPEATED, async |postgres| {
            session.batch_execute("ALTER TABLE t ADD more int").await.unwrap();
            postgres.transaction(async |mut tx| read(&mut *tx).await).await
        })
        .await;
    assert_eq!(columns.unwrap(), 2);
}

async fn not_supported() {
    let place = with_row("notsupported").await;
    let expected = Expected {
        outcome: Some(Outcome::RolledBack),
        retries: 0,
        ..REPEATED
    };
    let error = place
        .sees(expected, async |postgres| {
            let foreign = "CREATE TABLE other (id int REFERENCES postgres.elsewhere.t)";
            sqlx::query(foreign).execute(postgres).await
        })
        .await;
    assert_eq!(code(&error.unwrap_err()), "postgres.other");
}
