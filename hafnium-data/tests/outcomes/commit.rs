//! What a server says in reply to COMMIT, and what it says while COMMIT waits for a standby.

use std::time::Duration;

use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Detail, Postgres, Tx, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;

use super::place::{Expected, Place, act, act_late, code};
use super::{Case, Made};

const RARE: &str = "by a deferred trigger; the cause can't be made without breaking the machine or the data";
const FAR: &str = "by a deferred trigger; otherwise said by what lies behind the server";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "25P02",
            "in reply to COMMIT: a statement had failed and the closure did not say so",
            "rolled back",
            "ROLLBACK, connection kept, surfaced as an aborted transaction",
            Made::Server,
            aborted,
        ),
        Case::new(
            "COMMIT answered ROLLBACK",
            "a plain COMMIT of a failed transaction would be answered so; ours is preceded by a SELECT that fails with 25P02",
            "rolled back",
            "ROLLBACK, connection kept, surfaced as an aborted transaction",
            Made::Server,
            answered_rollback,
        ),
        Case::new(
            "40001",
            "in reply to COMMIT, of a serializable transaction",
            "rolled back",
            "connection kept, the closure runs again after a jittered pause",
            Made::Server,
            not_serializable,
        ),
        Case::new(
            "class 23",
            "in reply to COMMIT: a deferred constraint",
            "rolled back",
            "connection kept, surfaced",
            Made::Server,
            deferred_constraint,
        ),
        Case::new(
            "58030",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, surfaced",
            Made::Raised(RARE),
            || unknown("58030", false, false),
        ),
        Case::new(
            "XX000",
            "in reply to COMMIT",
            "unknown",
            "connection kept, surfaced",
            Made::Raised(RARE),
            || unknown("XX000", false, true),
        ),
        Case::new(
            "40003",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("40003", false, false),
        ),
        Case::new(
            "08007",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08007", false, false),
        ),
        Case::new(
            "08006",
            "in reply to COMMIT",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08006", true, false),
        ),
        Case::new(
            "57014",
            "cancelled while COMMIT waits for a standby",
            "done: the server answers success and a warning",
            "none",
            Made::Server,
            cancelled_wait,
        ),
        Case::new(
            "57014",
            "the deadline comes while COMMIT waits for a standby",
            "unknown",
            "no cancel is sent; connection discarded, surfaced",
            Made::Server,
            never_cancelled,
        ),
        Case::new(
            "57P01",
            "while COMMIT waits for a standby: a warning, then an end of file",
            "unknown, and committed on this node",
            "connection discarded, node suspected, surfaced",
            Made::Server,
            ended_wait,
        ),
    ]
}

const SURFACED: Expected = Expected {
    outcome: Some(Outcome::RolledBack),
    retries: 0,
    suspected: false,
    kept: true,
};

const DONE: Expected = Expected {
    outcome: None,
    ..SURFACED
};

async fn swallow(postgres: &Postgres) -> Result<(), sqlx::Error> {
    postgres
        .transaction(async |mut tx| {
            act(&mut *tx, "00000", 0).await?;
            assert!(act(&mut *tx, "P0001", 9).await.is_err());
            Ok(())
        })
        .await
}

async fn aborted() {
    let place = Place::new("abortedcommit").await;
    let aborted = place.sees(SURFACED, swallow_once).await;
    let error = aborted.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::Aborted)), "{error}");
    assert!(!classify(&error).retryable());
    assert_eq!((place.calls().await, place.rows("t").await), (2, 0));
    act(&place.postgres, "00000", 0).await.unwrap();
    assert_eq!(place.rows("t").await, 1, "the next caller is in no transaction");
}

async fn swallow_once(postgres: &Postgres) -> Result<(), sqlx::Error> {
    swallow(postgres).await
}

async fn answered_rollback() {
    let place = Place::new("answeredrollback").await;
    // What the server says to a plain COMMIT: success, with another tag, and nothing is committed.
    let session = &place.session;
    session
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert!(session.batch_execute("INSERT INTO t VALUES (1)").await.is_err());
    session.batch_execute("COMMIT").await.unwrap();
    assert_eq!(place.rows("t").await, 0);
    let aborted = place.sees(SURFACED, swallow_once).await;
    assert!(matches!(detail(&aborted.unwrap_err()), Some(Detail::Aborted)));
    assert_eq!(place.rows("t").await, 0);
}

/// A write skew: each reads what the other writes. The one that commits last fails in reply to COMMIT.
async fn not_serializable() {
    let place = Place::new("notserializable").await;
    let (session, runs) = (&place.session, std::sync::atomic::AtomicU32::new(0));
    let counted = &runs;
    let expected = Expected { retries: 1, ..DONE };
    place
        .sees(expected, async |postgres| {
            postgres
                .transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    let level = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE";
                    sqlx::query(level).execute(&mut *tx).await?;
                    let late: i64 = sqlx::query_scalar("SELECT count(*) FROM late")
                        .fetch_one(&mut *tx)
                        .await?;
                    if counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                        let rival = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t; \
                                     INSERT INTO late VALUES ('00000', 0)";
                        session.batch_execute(rival).await.unwrap();
                    }
                    let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(late as i32);
                    insert.execute(&mut *tx).await?;
                    if counted.load(std::sync::atomic::Ordering::Relaxed) == 1 {
                        session.batch_execute("COMMIT").await.unwrap();
                    }
                    Ok(())
                })
                .await
        })
        .await
        .unwrap();
    let id: i32 = session.query_one("SELECT id FROM t", &[]).await.unwrap().get(0);
    assert_eq!(id, 1, "it saw what the rival wrote");
}

async fn deferred_constraint() {
    let place = Place::new("deferred").await;
    let constraint = "CREATE TABLE child (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED); \
                      GRANT ALL ON child TO PUBLIC";
    place.session.batch_execute(constraint).await.unwrap();
    let failed = place
        .sees(SURFACED, async |postgres| {
            postgres
                .transaction(async |mut tx| {
                    sqlx::query("INSERT INTO child VALUES (1)")
                        .execute(&mut *tx)
                        .await
                        .map(drop)
                })
                .await
        })
        .await;
    assert_eq!(code(&failed.unwrap_err()), "postgres.23503");
    assert_eq!(place.rows("child").await, 0);
}

async fn late(postgres: &Postgres, state: &str) -> Result<(), sqlx::Error> {
    postgres
        .transaction(async |mut tx: Tx| act_late(&mut tx, state, 1).await)
        .await
}

async fn unknown(state: &'static str, suspected: bool, kept: bool) {
    let place = Place::new(&format!("commit{}", state.to_lowercase())).await;
    let expected = Expected {
        outcome: Some(Outcome::Unknown),
        retries: 0,
        suspected,
        kept,
    };
    let failed = place
        .sees(expected, async |postgres| late(postgres, state).await)
        .await;
    let error = failed.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(state), "{error}");
    assert!(!classify(&error).retryable());
    assert_eq!(place.calls().await, 1);
}

/// A server that waits for a standby it does not have.
async fn waiting(case: &str) -> (PostgresCluster, Place) {
    let cluster = PostgresCluster::single().await.unwrap();
    let place = Place::on(&cluster, case, |_| {}, None).await;
    place.pid().await;
    let wait = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
    let session = &place.session;
    session
        .batch_execute("SET synchronous_commit = local")
        .await
        .unwrap();
    session.batch_execute(wait).await.unwrap();
    session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    // Nobody waits before the checkpointer has told the others.
    let told = "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'";
    while session.query_one(told, &[]).await.unwrap().get::<_, String>(0) != "nobody" {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    (cluster, place)
}

async fn write(postgres: &Postgres) -> Result<(), sqlx::Error> {
    postgres
        .transaction(async |mut tx: Tx| act(&mut *tx, "00000", 0).await)
        .await
}

async fn cancelled_wait() {
    let (_cluster, place) = waiting("cancelledwait").await;
    let cancel = async {
        let pid = place.session_where("wait_event = 'SyncRep'").await;
        place
            .session
            .execute("SELECT pg_cancel_backend($1)", &[&pid])
            .await
            .unwrap();
    };
    let (done, ()) = tokio::join!(place.sees(DONE, async |postgres| write(postgres).await), cancel);
    done.unwrap();
    assert_eq!((place.calls().await, place.rows("t").await), (1, 1));
}

async fn never_cancelled() {
    let (_cluster, place) = waiting("nevercancelled").await;
    let expected = Expected {
        outcome: Some(Outcome::Unknown),
        kept: false,
        ..SURFACED
    };
    let given_up = place
        .sees(expected, async |postgres| {
            let view = postgres.within(Duration::from_millis(500));
            view.transaction(async |mut tx: Tx| act(&mut *tx, "00000", 0).await)
                .await
        })
        .await;
    assert_eq!(code(&given_up.unwrap_err()), "postgres.deadline_exceeded");
    // It waits on: a cancel would have been answered by a success that no standby has.
    place.session_where("wait_event = 'SyncRep'").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    place.session_where("wait_event = 'SyncRep'").await;
    assert_eq!(place.rows("t").await, 0, "not seen before the wait ends");
}

async fn ended_wait() {
    let (_cluster, place) = waiting("endedwait").await;
    let expected = Expected {
        outcome: Some(Outcome::Unknown),
        suspected: true,
        kept: false,
        ..SURFACED
    };
    let end = async {
        let pid = place.session_where("wait_event = 'SyncRep'").await;
        place
            .session
            .execute("SELECT pg_terminate_backend($1)", &[&pid])
            .await
            .unwrap();
    };
    let (ended, ()) = tokio::join!(place.sees(expected, async |postgres| write(postgres).await), end);
    let error = ended.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::CommitUnknown { .. })),
        "{error}"
    );
    assert_eq!(place.rows("t").await, 1, "committed on this node");
}
