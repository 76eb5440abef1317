//! The same of what does not run on a connection of the pool: migrations, what is unguarded, starts and stops; and of
//! statements that are enclosed for a pooler.

use std::sync::Mutex;
use std::time::Duration;

use hafnium_core::{Component, Context, Deadline, Stopped};
use hafnium_data::postgres::{Postgres, PostgresSettings, Tx};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};

use crate::ground::Ground;
use crate::{echo, insert};

/// Of what logs in itself: while its password is hashed it is polled hundreds of times for nothing else. Each run begins
/// at another poll.
const STRIDE: usize = 7;

fn other(error: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Configuration(error.to_string().into())
}

/// One migration of its own for each number. Those of the numbers before are newer than it, and accepted.
fn migrator(id: i32) -> Migrator {
    let sql = AssertSqlSafe(format!("INSERT INTO t VALUES ({id})")).into_sql_str();
    let version = i64::from(1_000_000 - id);
    let one = Migration::new(version, "one".into(), MigrationType::Simple, sql, false);
    Migrator::with_migrations(vec![one])
}

#[tokio::test]
async fn migrations_can_be_dropped_at_any_poll() {
    let mut ground = Ground::new("migrations").await;
    ground.stride = STRIDE;
    Box::pin(ground.exhaust("migrate", true, async |postgres, id| {
        postgres.migrate(&migrator(id)).await.map(drop).map_err(other)
    }))
    .await;
}

#[tokio::test]
async fn what_is_unguarded_can_be_dropped_at_any_poll() {
    let mut ground = Ground::new("unguarded").await;
    ground
        .exhaust("capacity", false, async |postgres, _| {
            let capacity = postgres.capacity().await?;
            assert!(capacity.allowed > 0);
            Ok(())
        })
        .await;
    ground.stride = STRIDE;
    Box::pin(
        ground.exhaust("unguarded_connection", true, async |postgres, id| {
            let mut connection = postgres.unguarded_connection().await?;
            insert(&mut connection, id).await?;
            connection.close().await
        }),
    )
    .await;
    Box::pin(ground.exhaust("unguarded_pool", true, async |postgres, id| {
        let pool = postgres.unguarded_pool(PgPoolOptions::new().max_connections(1));
        let pool = pool.await?;
        insert(&pool, id).await?;
        pool.close().await;
        Ok(())
    }))
    .await;
}

#[tokio::test]
async fn starts_and_stops_can_be_dropped_at_any_poll() {
    let seen = Mutex::new(None);
    let ground = Ground::with("starts", |settings| {
        *seen.lock().unwrap() = Some(settings.clone())
    })
    .await;
    let settings = || -> PostgresSettings { seen.lock().unwrap().clone().unwrap() };
    let stop = async |postgres: &Postgres| {
        let stopped = postgres.stop(Deadline::after(Duration::from_secs(10))).await;
        assert_eq!(stopped, Stopped::Clean);
    };
    Box::pin(ground.exhaust("connect, and stop", true, async |_, id| {
        let postgres = Postgres::connect(settings(), &Context::standalone())
            .await
            .map_err(other)?;
        insert(&postgres, id).await?;
        stop(&postgres).await;
        Ok(())
    }))
    .await;
    Box::pin(ground.exhaust("start, and stop", true, async |_, id| {
        let cx = Context::standalone();
        let postgres = Postgres::new("starts", settings(), &cx).map_err(other)?;
        postgres.start(&cx).await.map_err(other)?;
        insert(&postgres, id).await?;
        stop(&postgres).await;
        Ok(())
    }))
    .await;
}

#[tokio::test]
async fn what_is_enclosed_for_a_pooler_can_be_dropped_at_any_poll() {
    let ground = Ground::with("enclosed", |settings| settings.prepared_statements = false).await;
    ground
        .exhaust("an enclosed statement", true, async |postgres, id| {
            insert(postgres, id).await
        })
        .await;
    ground
        .exhaust("an enclosed read", false, async |postgres, id| {
            echo(postgres, id).await
        })
        .await;
    ground
        .exhaust("a transaction behind a pooler", true, async |postgres, id| {
            postgres
                .transaction(async |mut tx: Tx| insert(&mut *tx, id).await)
                .await
        })
        .await;
}
