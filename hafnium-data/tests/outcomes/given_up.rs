//! Operations that end otherwise than by an answer: what the caller makes of a row, and callers that do not wait.

use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::Outcome;
use hafnium_data::postgres::{Detail, Tx, detail};
use sqlx::Row;

use super::place::{Counts, Expected, Place, act, act_late, code};
use super::{Case, Made};

const ROW: &str = "a row that is not as the caller expects it";
const DROPPED: &str = "no answer is waited for";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            ROW,
            "the closure of a transaction ends with an error of decoding",
            "rolled back",
            "surfaced as such, with the error of decoding in the text",
            Made::Server,
            unreadable,
        ),
        Case::new(
            ROW,
            "the closure of a transaction ends with `RowNotFound`",
            "rolled back; `classify` can't know of the transaction and says unknown",
            "ROLLBACK, connection kept, surfaced as it is",
            Made::Server,
            not_found,
        ),
        Case::new(
            DROPPED,
            "the future is dropped while it waits for a connection",
            "not run",
            "counted as such",
            Made::Server,
            waiting,
        ),
        Case::new(
            DROPPED,
            "the future of a statement is dropped",
            "unknown",
            "connection discarded, counted as such",
            Made::Server,
            statement,
        ),
        Case::new(
            DROPPED,
            "a stream of rows is dropped before its end",
            "unknown; through `read_only()` or `reader()` rolled back",
            "connection discarded, counted as such",
            Made::Server,
            stream,
        ),
        Case::new(
            DROPPED,
            "the future of a transaction is dropped in the closure",
            "rolled back",
            "connection discarded, counted as such",
            Made::Server,
            closure,
        ),
        Case::new(
            DROPPED,
            "the future of a transaction is dropped in COMMIT",
            "unknown",
            "connection discarded, counted as such",
            Made::Server,
            commit,
        ),
    ]
}

const UNDONE: Expected = Expected {
    outcome: Some(Outcome::RolledBack),
    retries: 0,
    suspected: false,
    kept: false,
};

async fn unreadable() {
    for by_name in [false, true] {
        let place = Place::new("unreadable").await;
        let failed = place
            .sees(UNDONE, async |postgres| {
                postgres
                    .transaction(async |mut tx| -> Result<i32, sqlx::Error> {
                        act(&mut *tx, "00000", 0).await?;
                        let row = sqlx::query("SELECT 'x' AS x").fetch_one(&mut *tx).await?;
                        row.try_get(if by_name { "y" } else { "x" })
                    })
                    .await
            })
            .await;
        let error = failed.unwrap_err();
        assert!(
            matches!(detail(&error), Some(Detail::Unreadable { .. })),
            "{error}"
        );
        assert_eq!(code(&error), "postgres.decode");
        assert_eq!(place.rows("t").await, 0);
    }
}

async fn not_found() {
    let place = Place::new("notfound").await;
    let before = place.counts();
    let result = place
        .postgres
        .transaction(async |mut tx| -> Result<(), sqlx::Error> {
            act(&mut *tx, "00000", 0).await?;
            let missing = sqlx::query("SELECT 1 WHERE false");
            missing.fetch_one(&mut *tx).await.map(drop)
        })
        .await;
    assert!(matches!(result, Err(sqlx::Error::RowNotFound)), "{result:?}");
    assert_eq!((since(&place, before).rolled_back, place.rows("t").await), (1, 0));
}

/// What was counted since `before`.
fn since(place: &Place, before: Counts) -> Counts {
    let after = place.counts();
    Counts {
        done: after.done - before.done,
        not_run: after.not_run - before.not_run,
        rolled_back: after.rolled_back - before.rolled_back,
        unknown: after.unknown - before.unknown,
        retries: after.retries - before.retries,
        unknown_outcomes: after.unknown_outcomes - before.unknown_outcomes,
        suspected: after.suspected - before.suspected,
    }
}

const NOTHING: Counts = Counts {
    done: 0,
    not_run: 0,
    rolled_back: 0,
    unknown: 0,
    retries: 0,
    unknown_outcomes: 0,
    suspected: 0,
};

const IN_DOUBT: Counts = Counts {
    unknown: 1,
    unknown_outcomes: 1,
    ..NOTHING
};

const CERTAIN: Counts = Counts {
    rolled_back: 1,
    ..NOTHING
};

const SHORT: Duration = Duration::from_millis(300);

async fn waiting() {
    let place = Place::new("givenupwait").await;
    let _held = place.postgres.acquire().await.unwrap();
    let before = place.counts();
    for in_transaction in [false, true] {
        let postgres = &place.postgres;
        let given_up = async {
            if in_transaction {
                let transaction = postgres.transaction(async |mut tx: Tx| act(&mut *tx, "00000", 0).await);
                transaction.await
            } else {
                act(postgres, "00000", 0).await
            }
        };
        assert!(tokio::time::timeout(SHORT, given_up).await.is_err());
    }
    let not_run = Counts {
        not_run: 2,
        ..NOTHING
    };
    assert_eq!(since(&place, before), not_run);
}

async fn statement() {
    let place = Place::new("givenup").await;
    place.pid().await;
    let before = place.counts();
    let postgres = place.postgres.clone();
    let running = tokio::spawn(async move { act(&postgres, "slow", 1).await });
    place.session_where("wait_event = 'PgSleep'").await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(since(&place, before), IN_DOUBT);
}

async fn stream() {
    let place = Place::new("givenupstream").await;
    for (view, counted) in [
        (place.postgres.idempotent(), IN_DOUBT),
        (place.postgres.read_only(), CERTAIN),
    ] {
        let before = place.counts();
        let mut rows = sqlx::query("SELECT generate_series(1, 10)").fetch(&view);
        rows.next().await.unwrap().unwrap();
        drop(rows);
        assert_eq!(since(&place, before), counted);
        // Read to its end it is an operation like any other.
        let before = place.counts();
        let rows = sqlx::query("SELECT generate_series(1, 10)").fetch(&view);
        assert_eq!(rows.count().await, 10);
        assert_eq!(since(&place, before), Counts { done: 1, ..NOTHING });
    }
}

async fn closure() {
    let place = Place::new("givenupclosure").await;
    let before = place.counts();
    let postgres = place.postgres.clone();
    let running = tokio::spawn(async move {
        let transaction = postgres.transaction(async |mut tx: Tx| act(&mut *tx, "slow", 1).await);
        transaction.await
    });
    place.session_where("wait_event = 'PgSleep'").await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(since(&place, before), CERTAIN);
}

async fn commit() {
    let place = Place::new("givenupcommit").await;
    let before = place.counts();
    let postgres = place.postgres.clone();
    let running = tokio::spawn(async move {
        let transaction = postgres.transaction(async |mut tx: Tx| act_late(&mut tx, "slow", 1).await);
        transaction.await
    });
    place.session_where("wait_event = 'PgSleep'").await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(since(&place, before), IN_DOUBT);
}
