//! Statements that are cancelled.

use std::time::Duration;

use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::classify;

use super::place::{Expected, Place, act};
use super::{Case, Made};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "57014",
            "a statement is cancelled",
            "rolled back",
            "connection kept, node left alone, surfaced as a timeout",
            Made::Server,
            || cancelled(false),
        ),
        Case::new(
            "57014",
            "statement_timeout",
            "rolled back",
            "connection kept, node left alone, surfaced as a timeout",
            Made::Server,
            || cancelled(true),
        ),
        Case::new(
            "57014",
            "a statement of a transaction is cancelled",
            "rolled back",
            "ROLLBACK, connection kept, surfaced as a timeout",
            Made::Server,
            cancelled_in_transaction,
        ),
    ]
}

const SURFACED: Expected = Expected {
    outcome: Some(Outcome::RolledBack),
    retries: 0,
    suspected: false,
    kept: true,
};

fn is_timeout(error: &sqlx::Error) {
    let answer = classify(error);
    assert_eq!(answer.code(), "postgres.57014.deadline_exceeded");
    assert!(!answer.retryable());
}

/// Cancels the statement that sleeps in `act`, once it does.
async fn cancel_sleeper(place: &Place) {
    let pid = place.session_where("wait_event = 'PgSleep'").await;
    let cancel = "SELECT pg_cancel_backend($1)";
    place.session.execute(cancel, &[&pid]).await.unwrap();
}

async fn cancelled(by_setting: bool) {
    let place = Place::with("cancelled", |settings| {
        if by_setting {
            settings.statement_timeout = Some(Duration::from_millis(300).into());
        }
    })
    .await;
    let cancel = async {
        if !by_setting {
            cancel_sleeper(&place).await;
        }
    };
    // Declared idempotent: it is not repeated all the same.
    let (cancelled, ()) = tokio::join!(
        place.sees(SURFACED, async |postgres| act(&postgres.idempotent(), "slow", 1)
            .await),
        cancel
    );
    is_timeout(&cancelled.unwrap_err());
    assert_eq!((place.calls().await, place.rows("t").await), (1, 0));
}

async fn cancelled_in_transaction() {
    let place = Place::new("cancelledtx").await;
    let (cancelled, ()) = tokio::join!(
        place.sees(SURFACED, async |postgres| {
            postgres
                .transaction(async |mut tx| {
                    act(&mut *tx, "00000", 0).await?;
                    sqlx::query("SELECT pg_sleep(30)")
                        .execute(&mut *tx)
                        .await
                        .map(drop)
                })
                .await
        }),
        cancel_sleeper(&place)
    );
    is_timeout(&cancelled.unwrap_err());
    assert_eq!((place.calls().await, place.rows("t").await), (1, 0));
}
