//! What may have committed a part by itself before it failed.

use hafnium_core::Outcome;
use hafnium_data::postgres::{Detail, detail};

use super::place::{Expected, Place, code};
use super::{Case, Made};

const SIGNAL: &str = "any error of a CALL, a DO, or a script with COMMIT in it";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            SIGNAL,
            "40001 in a procedure that had committed",
            "unknown: what was committed stands",
            "connection kept, surfaced with the server's error as its source, never repeated",
            Made::Server,
            || partly("CALL act_twice('40001')", true),
        ),
        Case::new(
            SIGNAL,
            "the session is ended (57P01) in a DO that had committed",
            "unknown: what was committed stands",
            "connection discarded, surfaced with the server's error as its source, never repeated",
            Made::Server,
            || partly("/* why */ do $$ BEGIN CALL act_twice('57P01'); END $$", false),
        ),
        Case::new(
            SIGNAL,
            "40P01 in a script that had committed",
            "unknown: what was committed stands",
            "connection discarded, surfaced with the server's error as its source, never repeated",
            Made::Server,
            script,
        ),
        Case::new(
            SIGNAL,
            "in a transaction of the client, where it can't commit",
            "rolled back",
            "as any statement of a transaction",
            Made::Server,
            inside,
        ),
    ]
}

const ACT_TWICE: &str = "CREATE PROCEDURE act_twice(state text) LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO t VALUES (1);
    COMMIT;
    IF state = '57P01' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30); END IF;
    PERFORM act(state, 1);
END $$";

async fn place() -> Place {
    let place = Place::new("partly").await;
    place.session.batch_execute(ACT_TWICE).await.unwrap();
    place
}

fn expected(kept: bool) -> Expected {
    Expected {
        outcome: Some(Outcome::Unknown),
        retries: 0,
        suspected: false,
        kept,
    }
}

async fn partly(sql: &'static str, kept: bool) {
    let place = place().await;
    let failed = place
        .sees(expected(kept), async |postgres| {
            sqlx::query(sql).execute(&postgres.idempotent()).await
        })
        .await;
    let error = failed.unwrap_err();
    let Some(Detail::MayHaveCommitted { source, .. }) = detail(&error) else {
        panic!("{error}");
    };
    assert!(source.as_database_error().is_some(), "{source}");
    assert_eq!(code(&error), "postgres.may_have_committed");
    assert_eq!(place.rows("t").await, 1, "the first part stands");
}

async fn script() {
    let place = place().await;
    let failed = place
        .sees(expected(false), async |postgres| {
            let script = "BEGIN; INSERT INTO t VALUES (1); COMMIT; SELECT act('40P01', 9)";
            sqlx::raw_sql(script).execute(&postgres.idempotent()).await
        })
        .await;
    assert_eq!(code(&failed.unwrap_err()), "postgres.may_have_committed");
    assert_eq!((place.rows("t").await, place.calls().await), (1, 1));
}

async fn inside() {
    let place = place().await;
    let undone = Expected {
        outcome: Some(Outcome::RolledBack),
        ..expected(true)
    };
    let failed = place
        .sees(undone, async |postgres| {
            postgres
                .transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    let call = sqlx::query("CALL act_twice('P0001')");
                    call.execute(&mut *tx).await.map(drop)
                })
                .await
        })
        .await;
    let error = failed.unwrap_err();
    assert_eq!(
        error.as_database_error().and_then(|error| error.code()).unwrap(),
        "2D000"
    );
    assert_eq!(place.rows("t").await, 0);
}
