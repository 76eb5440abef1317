//! The marker of one key: a row that is written in the same transaction as what the key stands for.
//!
//! Invariant: a key is found absent only when no transaction that marked it can commit any more. Looking a key up *is*
//! marking it: the unique index lets the second one wait until the transaction of the first has ended, also when the
//! first one's client is gone and its COMMIT still on the way.

use super::error::Detail;
use super::tx::Tx;

/// The table of the markers of [`exactly_once`](super::Postgres::exactly_once), for a migration of the service: the
/// role that serves requests needs no right to create anything, only `SELECT`, `INSERT`, `UPDATE` and, for the
/// retention, `DELETE` on it. Applying it again does no harm.
///
/// `key` is what the caller gave, `run` tells the runs of one key apart, `at` is the server's time when the transaction
/// began.
///
/// ```
/// # async fn example(ledger: &hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
/// // In a test, or where the role may create tables:
/// sqlx::raw_sql(hafnium_data::postgres::MARKERS).execute(ledger).await?;
/// # Ok(())
/// # }
/// ```
pub const MARKERS: &str = "\
CREATE TABLE IF NOT EXISTS hafnium_markers (
    key text PRIMARY KEY,
    run bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS hafnium_markers_at ON hafnium_markers (at);
";

/// Gives back the row's `run`: ours when there was none. The update changes nothing; it locks the row and writes to the
/// log, so that the COMMIT that follows waits for synchronous replication, and with it for what the row stands for:
/// that one's own wait may have been given up (by a cancel, a time-out or the end of its session), and then the row is
/// visible before any standby has it.
const MARK: &str = "\
INSERT INTO hafnium_markers AS marker (key, run) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET run = marker.run
RETURNING run";

/// The longest key, in bytes: an index entry must fit a third of a page with room to spare.
const LONGEST: usize = 255;

/// The name of what must happen once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// # Errors
    /// [`Detail::MarkerKey`] for what the column can't hold.
    pub(crate) fn new(text: &'a str) -> Result<Self, Detail> {
        let reason = match text.len() {
            0 => "is empty",
            1..=LONGEST if text.contains('\0') => "holds a zero byte",
            1..=LONGEST => return Ok(Self(text)),
            _ => "is too long",
        };
        Err(Detail::MarkerKey {
            length: text.len(),
            reason,
        })
    }
}

/// One run of a closure: tells its marker from those of other runs under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run(i64);

impl Run {
    pub(crate) fn new() -> Self {
        Self(fastrand::i64(..))
    }
}

/// Marks `key` in the open transaction `tx`, once no other transaction that marked it is under way. Gives the run
/// that has the key: `run`, or one that committed before.
///
/// # Errors
/// Those of the server; [`Detail::MarkersMissing`] without the table.
pub(crate) async fn mark(tx: &mut Tx, key: Key<'_>, run: Run) -> Result<Run, sqlx::Error> {
    let marked = sqlx::query_scalar(MARK)
        .bind(key.0)
        .bind(run.0)
        .fetch_one(&mut **tx);
    marked.await.map(Run).map_err(|error| {
        let state = error.as_database_error().and_then(|error| error.code());
        match state.as_deref() {
            Some("42P01") => Detail::MarkersMissing.into(),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::classify;
    use hafnium_core::{Classify, Fault, Outcome};

    #[test]
    fn a_key_has_1_to_255_bytes_and_no_zero_byte() {
        assert!(Key::new("payments/42").is_ok());
        assert!(Key::new(&"x".repeat(255)).is_ok());
        for wrong in ["", "a\0b", &"x".repeat(256), &"é".repeat(128)] {
            let error = sqlx::Error::from(Key::new(wrong).unwrap_err());
            assert_eq!(classify(&error).outcome(), Outcome::NotRun);
            assert_eq!(classify(&error).fault(), Fault::Caller);
            assert!(!classify(&error).retryable());
            assert!(error.to_string().contains(&wrong.len().to_string()), "{error}");
        }
    }
}
