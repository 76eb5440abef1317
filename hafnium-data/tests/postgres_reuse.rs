//! What a transaction must not leave behind: neither a commit of what was undone, nor a connection whose state its next
//! user does not know.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::time::Duration;

use futures_util::FutureExt;
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, Tx, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// A handle with one connection.
async fn connect(database: &str, change: impl FnOnce(&mut PostgresSettings)) -> Postgres {
    let cluster = CLUSTER
        .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
        .await;
    let url = cluster.create_database(database).await.expect("a database");
    let mut settings = PostgresSettings::new(Secret::new(url));
    (settings.max, settings.warm) = (1, 0);
    change(&mut settings);
    let postgres = Postgres::connect(settings, &Context::standalone())
        .await
        .expect("connects");
    sqlx::raw_sql("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    postgres
}

async fn ids(postgres: &Postgres) -> Vec<i32> {
    let ids = sqlx::query_scalar("SELECT id FROM t ORDER BY id");
    ids.fetch_all(postgres).await.unwrap()
}

async fn insert(tx: &mut Tx, id: i32) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(id);
    insert.execute(&mut **tx).await.map(drop)
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The server refuses the savepoint, because a statement had failed.
    Refused,
    /// The caller does not wait for the reply.
    GivenUp,
    /// A savepoint within a savepoint is refused.
    Nested,
    /// The same by sqlx's own method, twice.
    Twice,
}

/// A savepoint that fails, and a closure that goes on as if nothing had happened.
async fn fails(tx: &mut Tx, way: Way) {
    match way {
        Way::Refused => {
            assert!(insert(tx, 1).await.is_err());
            assert!(tx.savepoint().await.is_err());
        }
        // On a busy machine the reply may be there at once.
        Way::GivenUp => {
            while let Some(answered) = tx.savepoint().now_or_never() {
                answered.unwrap().commit().await.unwrap();
            }
        }
        Way::Nested => {
            let mut outer = tx.savepoint().await.unwrap();
            let failed = sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *outer);
            assert!(failed.await.is_err());
            assert!(sqlx::Connection::begin(&mut **outer).await.is_err());
            let _refused_too = outer.commit().await;
        }
        Way::Twice => {
            assert!(insert(tx, 1).await.is_err());
            assert!(sqlx::Connection::begin(&mut ***tx).await.is_err());
            assert!(tx.savepoint().await.is_err());
            assert!(tx.savepoint().await.is_err());
        }
    }
}

#[tokio::test]
async fn a_transaction_whose_savepoint_failed_is_not_committed_nor_is_what_follows_it() {
    let postgres = connect("failedsavepoint", |_| {}).await;
    for way in [Way::Refused, Way::GivenUp, Way::Nested, Way::Twice] {
        // A connection that is used for the first time, and one that is not.
        for used in [false, true] {
            if used {
                let first = postgres.transaction(async |tx| -> Result<(), sqlx::Error> {
                    drop(tx);
                    Ok(())
                });
                first.await.unwrap();
            }
            let result: Result<(), sqlx::Error> = postgres
                .transaction(async |mut tx| {
                    insert(&mut tx, 1).await?;
                    fails(&mut tx, way).await;
                    let _fails_too = insert(&mut tx, 2).await;
                    let _fails_too = insert(&mut tx, 3).await;
                    Ok(())
                })
                .await;
            assert_eq!(ids(&postgres).await, [0; 0], "{way:?}, used: {used}");
            let error = result.unwrap_err();
            assert!(
                matches!(detail(&error), Some(Detail::Aborted)),
                "{way:?}: {error}"
            );
            assert_eq!(classify(&error).outcome(), Outcome::RolledBack);
        }
    }
}

#[tokio::test]
async fn a_connection_whose_savepoint_failed_does_not_serve_the_next_transaction() {
    let postgres = connect("nextsavepoint", |_| {}).await;
    for way in [Way::Refused, Way::GivenUp, Way::Nested, Way::Twice] {
        let refused: Result<(), sqlx::Error> = postgres
            .transaction(async |mut tx| {
                insert(&mut tx, 1).await?;
                fails(&mut tx, way).await;
                Err(sqlx::Error::RowNotFound)
            })
            .await;
        assert!(matches!(refused, Err(sqlx::Error::RowNotFound)), "{way:?}");
        let undone: Result<(), sqlx::Error> = postgres
            .transaction(async |mut tx| {
                let mut kept = tx.savepoint().await?;
                let insert_10 = sqlx::query("INSERT INTO t VALUES (10)");
                insert_10.execute(&mut *kept).await?;
                kept.commit().await?;
                insert(&mut tx, 11).await?;
                // Had the savepoint been a transaction of its own, this would be an error of the server, too late.
                let mut undone = tx.savepoint().await?;
                let insert_12 = sqlx::query("INSERT INTO t VALUES (12)");
                insert_12.execute(&mut *undone).await?;
                undone.rollback().await?;
                Err(sqlx::Error::RowNotFound)
            })
            .await;
        assert!(
            matches!(undone, Err(sqlx::Error::RowNotFound)),
            "{way:?}: {undone:?}"
        );
        assert_eq!(ids(&postgres).await, [0; 0], "{way:?}");
    }
}

#[tokio::test]
async fn a_begin_that_fails_half_way_leaves_no_transaction_to_the_next_caller() {
    let postgres = connect("halfbegun", |settings| {
        settings.prepared_statements = false;
        // More than the server takes: said after BEGIN in the same message, and refused.
        settings.statement_timeout = Some(Duration::from_secs(86_400_000).into());
    })
    .await;
    for _ in 0..2 {
        let result: Result<(), sqlx::Error> = postgres
            .transaction(async |tx| {
                drop(tx);
                Ok(())
            })
            .await;
        assert_eq!(classify(&result.unwrap_err()).code(), "postgres.22");
    }
    sqlx::raw_sql("SELECT 1").execute(&postgres).await.unwrap();
}
