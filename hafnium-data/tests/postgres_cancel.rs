//! Every public future of the handle, dropped at its first poll, at its second, and so on until it completes. Each time the
//! pool is whole again: as many connections at once as it may hold, none of them with an answer that belongs to another
//! question; and what was acknowledged is there. Replies arrive a few bytes at a time, so that there are many polls.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod cancel;
mod ground;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ground::Ground;
use hafnium_data::postgres::{Event, MARKERS, Postgres, Tx};
use sqlx::{Executor, SqlSafeStr};

async fn insert(executor: impl sqlx::PgExecutor<'_>, id: i32) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO t VALUES ($1)")
        .bind(id)
        .execute(executor)
        .await
        .map(drop)
}

async fn pair(tx: &mut Tx, id: i32) -> Result<(), sqlx::Error> {
    insert(&mut **tx, id).await?;
    sqlx::query("INSERT INTO pairs VALUES ($1)")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop)
}

async fn echo(executor: impl sqlx::PgExecutor<'_>, id: i32) -> Result<(), sqlx::Error> {
    let answer: i32 = sqlx::query_scalar("SELECT $1")
        .bind(id)
        .fetch_one(executor)
        .await?;
    assert_eq!(answer, id);
    Ok(())
}

#[tokio::test]
async fn statements_can_be_dropped_at_any_poll() {
    let ground = Ground::new("statements").await;
    ground
        .exhaust("execute", true, async |postgres, id| insert(postgres, id).await)
        .await;
    ground
        .exhaust("execute, idempotent", true, async |postgres, id| {
            insert(&postgres.idempotent(), id).await
        })
        .await;
    ground
        .exhaust("fetch_one", false, async |postgres, id| echo(postgres, id).await)
        .await;
    ground
        .exhaust("fetch_optional", false, async |postgres, id| {
            let none = sqlx::query("SELECT 1 FROM pairs WHERE id = $1").bind(id);
            assert!(none.fetch_optional(postgres).await?.is_none());
            Ok(())
        })
        .await;
    ground
        .exhaust("fetch_all", false, async |postgres, id| {
            let rows = sqlx::query_scalar::<_, i32>("SELECT generate_series($1, $1 + 4)").bind(id);
            let rows: Vec<i32> = rows.fetch_all(postgres).await?;
            assert_eq!(rows, (id..id + 5).collect::<Vec<_>>());
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn streams_and_prepared_statements_can_be_dropped_at_any_poll() {
    let ground = Ground::new("streams").await;
    ground
        .exhaust("fetch", false, async |postgres, id| {
            let rows = sqlx::query_scalar::<_, i32>("SELECT generate_series($1, $1 + 4)").bind(id);
            let rows: Vec<i32> = rows.fetch(postgres).try_collect().await?;
            assert_eq!(rows.len(), 5);
            Ok(())
        })
        .await;
    ground
        .exhaust("fetch, left after its first row", false, async |postgres, id| {
            let rows = sqlx::query_scalar::<_, i32>("SELECT generate_series($1, $1 + 4)").bind(id);
            let first = rows.fetch(postgres).next().await;
            assert_eq!(first.unwrap()?, id);
            Ok(())
        })
        .await;
    ground
        .exhaust("prepare", false, async |postgres, _| {
            postgres
                .prepare("SELECT id FROM t WHERE id > $1".into_sql_str())
                .await
                .map(drop)
        })
        .await;
    ground
        .exhaust("describe", false, async |postgres, _| {
            postgres
                .describe("SELECT id FROM t WHERE id < $1".into_sql_str())
                .await
                .map(drop)
        })
        .await;
    ground
        .exhaust("a script", false, async |postgres, _| {
            postgres
                .execute(sqlx::raw_sql("SELECT 1; SELECT 2"))
                .await
                .map(drop)
        })
        .await;
}

#[tokio::test]
async fn transactions_can_be_dropped_at_any_poll() {
    let ground = Ground::new("transactions").await;
    ground
        .exhaust("transaction", true, async |postgres, id| {
            postgres
                .transaction(async |mut tx: Tx| pair(&mut tx, id).await)
                .await
        })
        .await;
    ground
        .exhaust("transaction that fails", false, async |postgres, id| {
            let refused: Result<(), sqlx::Error> = postgres
                .transaction(async |mut tx: Tx| {
                    pair(&mut tx, id).await?;
                    Err(sqlx::Error::RowNotFound)
                })
                .await;
            assert!(matches!(refused, Err(sqlx::Error::RowNotFound)));
            Ok(())
        })
        .await;
    ground.no_halves().await;
}

#[tokio::test]
async fn savepoints_can_be_dropped_at_any_poll() {
    let ground = Ground::new("savepoints").await;
    ground
        .exhaust("savepoint", true, async |postgres, id| {
            postgres
                .transaction(async |mut tx: Tx| -> Result<(), sqlx::Error> {
                    let mut kept = tx.savepoint().await?;
                    insert(&mut *kept, id).await?;
                    kept.commit().await?;
                    let mut undone = tx.savepoint().await?;
                    insert(&mut *undone, -id - 1).await?;
                    undone.rollback().await?;
                    sqlx::query("INSERT INTO pairs VALUES ($1)")
                        .bind(id)
                        .execute(&mut *tx)
                        .await
                        .map(drop)
                })
                .await
        })
        .await;
    ground.no_halves().await;
}

#[tokio::test]
async fn what_only_reads_can_be_dropped_at_any_poll() {
    let ground = Ground::new("readers").await;
    ground
        .exhaust("reader", false, async |postgres, id| {
            echo(&postgres.reader(), id).await
        })
        .await;
    ground
        .exhaust("read_only transaction", false, async |postgres, id| {
            postgres
                .read_only()
                .transaction(async |mut tx: Tx| echo(&mut *tx, id).await)
                .await
        })
        .await;
    let token = ground
        .postgres
        .transaction(async |mut tx: Tx| -> Result<_, sqlx::Error> {
            insert(&mut *tx, -1).await?;
            Ok(tx.token())
        })
        .await
        .unwrap();
    let token = token.get().expect("a token");
    ground
        .exhaust("reader_after", false, async |postgres, id| {
            echo(&postgres.reader_after(token), id).await
        })
        .await;
}

#[tokio::test]
async fn dedicated_connections_can_be_dropped_at_any_poll() {
    let ground = Ground::new("dedicated").await;
    ground
        .exhaust("acquire, and a statement", true, async |postgres, id| {
            let mut session = postgres.acquire().await?;
            insert(&mut session, id).await
        })
        .await;
    ground
        .exhaust("a transaction by statements", true, async |postgres, id| {
            let mut session = postgres.acquire().await?;
            session.execute(sqlx::raw_sql("BEGIN")).await?;
            insert(&mut session, id).await?;
            session.execute(sqlx::raw_sql("COMMIT")).await.map(drop)
        })
        .await;
    ground
        .exhaust("copy_in", true, async |postgres, id| {
            let rows = futures_util::stream::iter([Ok(format!("{id}\n"))]);
            let stored = postgres
                .acquire()
                .await?
                .copy_in("COPY t FROM STDIN", rows)
                .await?;
            assert_eq!(stored, 1);
            Ok(())
        })
        .await;
    ground
        .exhaust("copy_out", false, async |postgres, _| {
            let mut session = postgres.acquire().await?;
            let rows: Vec<_> = session
                .copy_out("COPY (SELECT 7) TO STDOUT")
                .try_collect()
                .await?;
            assert_eq!(rows.concat(), b"7\n");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn what_listens_can_be_dropped_at_any_poll() {
    let mut ground = Ground::new("listening").await;
    // It logs in, and while its password is hashed a login is polled hundreds of times for nothing else.
    ground.stride = 7;
    // Boxed, because what listens is large.
    Box::pin(
        ground.exhaust("listen, and an event", false, async |postgres, id| {
            let mut listener = postgres.listen(["news"]).await?;
            let told = sqlx::query("SELECT pg_notify('news', $1)").bind(id.to_string());
            told.execute(postgres).await?;
            match listener.recv().await {
                Some(Event::Notification(news)) => assert_eq!(news.payload(), id.to_string()),
                other => panic!("{other:?}"),
            }
            Ok(())
        }),
    )
    .await;
}

#[tokio::test]
async fn what_has_a_key_is_done_once_however_often_it_was_dropped() {
    let ground = Ground::new("keys").await;
    ground.postgres.execute(sqlx::raw_sql(MARKERS)).await.unwrap();
    let once = async |postgres: &Postgres, id: i32| {
        let key = format!("key {id}");
        let done = postgres
            .exactly_once(&key, async |mut tx: Tx| pair(&mut tx, id).await)
            .await;
        done.map(|_: hafnium_data::postgres::Done<()>| ())
    };
    once(&ground.postgres, -1).await.unwrap();
    let exhausted = ground.exhaust("exactly_once", true, async |postgres, id| {
        once(postgres, id).await
    });
    Box::pin(exhausted).await;
    // The primary key would refuse a second effect.
    for id in 0..ground.next.load(Ordering::Relaxed) {
        once(&ground.postgres, id).await.unwrap();
        assert!(ground.has("t", id).await && ground.has("pairs", id).await);
    }
    ground.no_halves().await;
}

#[tokio::test]
async fn dropped_futures_leave_the_pool_whole_and_undo_their_work() {
    let ground = Ground::new("dropped").await;
    for round in 0..40 {
        let limit = Duration::from_micros(200 * round);
        let query = sqlx::query("SELECT pg_sleep(1)").execute(&ground.postgres);
        let _ = tokio::time::timeout(limit, query).await;
        let transaction = ground
            .postgres
            .transaction(async |mut tx: Tx| -> Result<(), sqlx::Error> {
                pair(&mut tx, 1).await?;
                sqlx::query("SELECT pg_sleep(1)")
                    .execute(&mut *tx)
                    .await
                    .map(drop)
            });
        let _ = tokio::time::timeout(limit, transaction).await;
        let mut rows = sqlx::query("SELECT generate_series(1, 1000000)").fetch(&ground.postgres);
        let _ = tokio::time::timeout(limit, rows.next()).await;
    }
    ground.whole().await;
    assert!(!ground.has("t", 1).await);
}
