//! Scores in Postgres: one effect per payment, however often the payment comes.

use hafnium::postgres::{Postgres, Tx};
use hafnium::sqlx::{self, Row};

use crate::payment::{Payment, Score};

/// The scores and the exposure they add up to.
#[derive(Clone)]
pub(crate) struct Ledger {
    postgres: Postgres,
}

impl Ledger {
    /// The ledger in that database.
    pub(crate) fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Stores `score` with its effect on the account's exposure, unless the payment was scored before; returns the
    /// score that counts.
    pub(crate) async fn store(&self, payment: &Payment, score: Score) -> Result<Score, sqlx::Error> {
        let payment = payment.clone();
        self.postgres
            .transaction(move |mut tx: Tx| {
                let (payment, score) = (payment.clone(), score.clone());
                async move {
                    let inserted = sqlx::query(
                        "INSERT INTO scores (payment_id, account, amount, score, velocity) \
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (payment_id) DO NOTHING",
                    )
                    .bind(&payment.id)
                    .bind(&payment.account)
                    .bind(payment.amount)
                    .bind(score.score)
                    .bind(score.velocity)
                    .execute(&mut *tx)
                    .await?;
                    if inserted.rows_affected() == 0 {
                        return find(&mut *tx, &payment.id)
                            .await
                            .map(|found| found.unwrap_or(score));
                    }
                    sqlx::query("INSERT INTO exposure (payment_id, account, amount) VALUES ($1, $2, $3)")
                        .bind(&payment.id)
                        .bind(&payment.account)
                        .bind(payment.amount)
                        .execute(&mut *tx)
                        .await?;
                    Ok(score)
                }
            })
            .await
    }

    /// The score of a payment, if it was scored.
    pub(crate) async fn score(&self, payment_id: &str) -> Result<Option<Score>, sqlx::Error> {
        find(&self.postgres.read_only(), payment_id).await
    }
}

async fn find<'c>(
    executor: impl sqlx::PgExecutor<'c>,
    payment_id: &str,
) -> Result<Option<Score>, sqlx::Error> {
    let row = sqlx::query("SELECT payment_id, score, velocity FROM scores WHERE payment_id = $1")
        .bind(payment_id)
        .fetch_optional(executor)
        .await?;
    row.map(|row| {
        Ok(Score {
            payment_id: row.try_get("payment_id")?,
            score: row.try_get("score")?,
            velocity: row.try_get("velocity")?,
        })
    })
    .transpose()
}
