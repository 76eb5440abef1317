//! Errors of statements that leave the session standing.

use hafnium_core::{Classify, Fault, Outcome};
use hafnium_data::postgres::{Detail, Tx, classify, detail};
use tokio::sync::Barrier;

use super::place::{Expected, Place, act, code};
use super::{Case, Made};

const RARE: &str = "the cause can't be made without breaking the machine or the data";
const FAR: &str = "said of what lies behind the server, or by a proxy";
const CLIENT: &str = "said to a client that breaks the protocol, which sqlx does not";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "40001",
            "a transaction saw too old a state",
            "rolled back",
            "connection kept, the closure runs again after a jittered pause",
            Made::Server,
            conflict,
        ),
        Case::new(
            "40P01",
            "two transactions wait for each other",
            "rolled back",
            "connection kept, the closure runs again after a jittered pause",
            Made::Server,
            deadlock,
        ),
        Case::new(
            "40003",
            "in reply to a statement",
            "unknown",
            "connection discarded, node left alone, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("40003", false),
        ),
        Case::new(
            "08007",
            "in reply to a statement",
            "unknown",
            "connection discarded, node left alone, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08007", false),
        ),
        Case::new(
            "08000",
            "in reply to a statement",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08000", true),
        ),
        Case::new(
            "08003",
            "in reply to a statement",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08003", true),
        ),
        Case::new(
            "08006",
            "in reply to a statement",
            "unknown",
            "connection discarded, node suspected, surfaced; repeated when declared idempotent",
            Made::Raised(FAR),
            || unknown("08006", true),
        ),
        Case::new(
            "08P01",
            "in reply to a statement",
            "unknown",
            "connection discarded, node left alone, surfaced; repeated once when declared idempotent",
            Made::Raised(CLIENT),
            protocol,
        ),
        Case::new(
            "53100",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, the dependency's fault",
            Made::Raised(RARE),
            || undone("53100", Fault::Dependency),
        ),
        Case::new(
            "53200",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, the dependency's fault",
            Made::Raised(RARE),
            || undone("53200", Fault::Dependency),
        ),
        Case::new(
            "58000",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, the dependency's fault",
            Made::Raised(RARE),
            || undone("58000", Fault::Dependency),
        ),
        Case::new(
            "58030",
            "in reply to a statement",
            "rolled back",
            "connection discarded, surfaced, the dependency's fault",
            Made::Raised(RARE),
            failed_disk,
        ),
        Case::new(
            "55P03",
            "a row is locked, NOWAIT",
            "rolled back",
            "connection kept, surfaced",
            Made::Server,
            locked,
        ),
        Case::new(
            "25P02",
            "a statement after one that failed, in one transaction",
            "not run",
            "ROLLBACK, connection kept, surfaced",
            Made::Server,
            aborted,
        ),
        Case::new(
            "XX000",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, not repeated",
            Made::Raised(RARE),
            || undone("XX000", Fault::Dependency),
        ),
        Case::new(
            "XX001",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, not repeated",
            Made::Raised(RARE),
            || undone("XX001", Fault::Dependency),
        ),
        Case::new(
            "XX002",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, not repeated",
            Made::Raised(RARE),
            || undone("XX002", Fault::Dependency),
        ),
        Case::new(
            "F0xxx",
            "in reply to a statement",
            "rolled back",
            "connection kept, surfaced, not repeated",
            Made::Raised(RARE),
            || undone("F0001", Fault::Dependency),
        ),
        Case::new(
            "class 22",
            "a division by zero",
            "rolled back",
            "connection kept, surfaced, the caller's fault",
            Made::Server,
            || {
                mistake(
                    "INSERT INTO t SELECT 1 / (id - id) FROM t",
                    "postgres.22",
                    Fault::Caller,
                )
            },
        ),
        Case::new(
            "class 23",
            "a row that is there already",
            "rolled back",
            "connection kept, surfaced, the caller's fault",
            Made::Server,
            || mistake("INSERT INTO t VALUES (7)", "postgres.23505", Fault::Caller),
        ),
        Case::new(
            "class 42",
            "a table that is not there",
            "rolled back",
            "connection kept, surfaced, the service's fault",
            Made::Server,
            || mistake("INSERT INTO nowhere VALUES (7)", "postgres.42", Fault::Service),
        ),
        Case::new(
            "class P0",
            "RAISE without a state",
            "rolled back",
            "connection kept, surfaced, the caller's fault",
            Made::Server,
            || mistake("SELECT no()", "postgres.P0", Fault::Caller),
        ),
    ]
}

const SURFACED: Expected = Expected {
    outcome: Some(Outcome::RolledBack),
    retries: 0,
    suspected: false,
    kept: true,
};

const REPEATED: Expected = Expected {
    outcome: None,
    retries: 1,
    ..SURFACED
};

async fn conflict() {
    let place = Place::new("conflict").await;
    let session = &place.session;
    session.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    place
        .sees(REPEATED, async |postgres| {
            postgres
                .transaction(async |mut tx| -> Result<(), sqlx::Error> {
                    let level = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
                    sqlx::query(level).execute(&mut *tx).await?;
                    let id: i32 = sqlx::query_scalar("SELECT id FROM t").fetch_one(&mut *tx).await?;
                    if id == 1 {
                        session.batch_execute("UPDATE t SET id = 10").await.unwrap();
                    }
                    sqlx::query("UPDATE t SET id = id + 1")
                        .execute(&mut *tx)
                        .await
                        .map(drop)
                })
                .await
        })
        .await
        .unwrap();
    let id: i32 = session.query_one("SELECT id FROM t", &[]).await.unwrap().get(0);
    assert_eq!(id, 11);
}

async fn touch(tx: &mut Tx, id: i32) -> Result<(), sqlx::Error> {
    let touch = sqlx::query("UPDATE t SET id = id WHERE id = $1").bind(id);
    touch.execute(&mut **tx).await.map(drop)
}

async fn deadlock() {
    let place = Place::with("deadlock", |settings| settings.max = 2).await;
    place
        .session
        .batch_execute("INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    // Shorter than the second that a server waits before it looks for a deadlock, so that one is found for certain.
    let both = Barrier::new(2);
    let before = place.counts();
    let rivals = [(1, 2), (2, 1)].map(|(first, second)| {
        let (postgres, both) = (&place.postgres, &both);
        postgres.transaction(move |mut tx| async move {
            touch(&mut tx, first).await?;
            let _alone_the_second_time =
                tokio::time::timeout(std::time::Duration::from_millis(500), both.wait()).await;
            touch(&mut tx, second).await
        })
    });
    for result in futures_util::future::join_all(rivals).await {
        result.unwrap();
    }
    let after = place.counts();
    assert_eq!((after.done - before.done, after.retries - before.retries), (2, 1));
    assert_eq!((after.suspected, after.rolled_back), (before.suspected, 0));
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while place
        .session
        .query_one(deadlocks, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        assert!(tokio::time::Instant::now() < end, "the server saw no deadlock");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn unknown(state: &'static str, suspected: bool) {
    let place = Place::new(&format!("unknown{}", state.to_lowercase())).await;
    let expected = Expected {
        outcome: Some(Outcome::Unknown),
        retries: 0,
        suspected,
        kept: false,
    };
    let failed = place
        .sees(expected, async |postgres| act(postgres, state, 1).await)
        .await;
    let error = failed.unwrap_err();
    assert!(code(&error).ends_with(state) && !classify(&error).retryable());
    assert_eq!(place.calls().await, 1);
    let repeated = Expected {
        outcome: None,
        retries: 1,
        ..expected
    };
    place
        .sees(repeated, async |postgres| {
            act(&postgres.idempotent(), state, 2).await
        })
        .await
        .unwrap();
    assert_eq!(place.calls().await, 3);
}

async fn protocol() {
    unknown("08P01", false).await;
    let place = Place::new("protocoltwice").await;
    let expected = Expected {
        outcome: Some(Outcome::Unknown),
        retries: 1,
        suspected: false,
        kept: false,
    };
    let again = place
        .sees(expected, async |postgres| {
            act(&postgres.idempotent(), "08P01", 9).await
        })
        .await;
    assert_eq!(code(&again.unwrap_err()), "postgres.08P01");
    assert_eq!(place.calls().await, 2, "repeated once");
}

/// Surfaced at once also when declared idempotent: repeating does not help.
async fn undone(state: &'static str, fault: Fault) {
    let place = Place::new(&format!("undone{}", state.to_lowercase())).await;
    let failed = place
        .sees(SURFACED, async |postgres| {
            act(&postgres.idempotent(), state, 1).await
        })
        .await;
    assert_eq!(classify(&failed.unwrap_err()).fault(), fault);
    assert_eq!((place.calls().await, place.rows("t").await), (1, 0));
}

async fn failed_disk() {
    let place = Place::new("faileddisk").await;
    let expected = Expected {
        kept: false,
        ..SURFACED
    };
    let failed = place
        .sees(expected, async |postgres| {
            act(&postgres.idempotent(), "58030", 1).await
        })
        .await;
    assert_eq!(classify(&failed.unwrap_err()).fault(), Fault::Dependency);
    assert_eq!(place.calls().await, 1);
}

async fn locked() {
    let place = Place::new("locked").await;
    place
        .session
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let hold = "BEGIN; SELECT * FROM t FOR UPDATE";
    place.session.batch_execute(hold).await.unwrap();
    let locked = place
        .sees(SURFACED, async |postgres| {
            let take = sqlx::query("SELECT id FROM t FOR UPDATE NOWAIT");
            take.execute(&postgres.idempotent()).await
        })
        .await;
    assert_eq!(code(&locked.unwrap_err()), "postgres.55P03");
}

async fn aborted() {
    let place = Place::new("aborted").await;
    let expected = Expected {
        outcome: Some(Outcome::NotRun),
        ..SURFACED
    };
    let aborted = place
        .sees(expected, async |postgres| {
            postgres
                .transaction(async |mut tx| {
                    assert!(act(&mut *tx, "P0001", 1).await.is_err());
                    act(&mut *tx, "00000", 0).await
                })
                .await
        })
        .await;
    assert_eq!(code(&aborted.unwrap_err()), "postgres.25P02");
    assert_eq!(place.calls().await, 1);
    // The connection that was kept is in no transaction.
    act(&place.postgres, "00000", 0).await.unwrap();
    assert_eq!(place.rows("t").await, 1);
}

async fn mistake(sql: &'static str, state: &'static str, fault: Fault) {
    let place = Place::new("mistake").await;
    let refusal = "CREATE FUNCTION no() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$";
    place.session.batch_execute(refusal).await.unwrap();
    place
        .session
        .batch_execute("INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    let failed = place
        .sees(SURFACED, async |postgres| {
            sqlx::query(sql).execute(&postgres.idempotent()).await
        })
        .await;
    let error = failed.unwrap_err();
    assert_eq!((code(&error), classify(&error).fault()), (state, fault));
    assert!(detail(&error).is_none_or(|detail| !matches!(detail, Detail::Aborted)));
    assert_eq!(place.rows("t").await, 1);
}
