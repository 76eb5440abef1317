//! An open transaction, as the closure has it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Postgres as Db, Transaction};

use super::pool::Lease;
use super::token::PendingToken;

/// Where a `Tx` leaves its connection.
pub(super) type Slot = Arc<Mutex<Option<Lease>>>;

/// An open transaction, given to the closure of [`transaction`](super::Postgres::transaction).
///
/// Dereferences to [`PgConnection`]: `.execute(&mut *tx)`. The library begins and ends the transaction; dropping the
/// `Tx` only says that the closure is done with it. It must be gone when the closure's future ends: one that was kept
/// can't be committed, and the transaction is rolled back ([`Detail::TxKept`](super::Detail::TxKept)).
///
/// [`savepoint`](Self::savepoint) is a transaction within it, [`token`](Self::token) tells replicas that have what it
/// wrote.
pub struct Tx {
    /// Taken by `drop` alone.
    lease: Option<Lease>,
    slot: Slot,
    token: PendingToken,
}

impl Tx {
    /// On the connection of `lease`, which it leaves in `slot`.
    pub(super) fn new(lease: Lease, slot: Slot, token: PendingToken) -> Self {
        Self {
            lease: Some(lease),
            slot,
            token,
        }
    }

    /// Asks for the position of this transaction in the log, with which
    /// [`reader_after`](super::Postgres::reader_after) finds a replica that shows what it wrote. Return it from the
    /// closure; it is known once the transaction has committed, and costs no round trip: the question travels with
    /// COMMIT.
    ///
    /// ```no_run
    /// # async fn example(ledger: &hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// let token = ledger
    ///     .transaction(async |mut tx| -> Result<_, sqlx::Error> {
    ///         sqlx::query("INSERT INTO orders VALUES (7)").execute(&mut *tx).await?;
    ///         Ok(tx.token())
    ///     })
    ///     .await?;
    /// let reader = token.get().map_or_else(|| ledger.read_only(), |token| ledger.reader_after(token));
    /// let found = sqlx::query("SELECT * FROM orders WHERE id = 7").fetch_one(&reader).await?;
    /// # let _ = found;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(&self) -> PendingToken {
        self.token.ask();
        self.token.clone()
    }

    /// The node that it is open on.
    pub(crate) fn node(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.node().label)
    }

    /// The token of this transaction, without asking for it.
    pub(crate) fn pending(&self) -> PendingToken {
        self.token.clone()
    }

    /// A transaction within the transaction: rolled back to here unless its own `commit` is called, which keeps it as a
    /// part of the whole and makes nothing lasting by itself. A `begin` of sqlx on the `Tx` is the same.
    ///
    /// It is also how a statement may fail without the whole: after an error the server refuses everything up to the
    /// savepoint's end, and goes on from there. Dropped, it is rolled back with the next statement of the `Tx`.
    ///
    /// ```no_run
    /// # async fn example(ledger: &hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// ledger
    ///     .transaction(async |mut tx| -> Result<(), sqlx::Error> {
    ///         let mut attempt = tx.savepoint().await?;
    ///         match sqlx::query("INSERT INTO names VALUES ('ada')").execute(&mut *attempt).await {
    ///             Ok(_) => attempt.commit().await?,
    ///             Err(_) => attempt.rollback().await?,
    ///         }
    ///         sqlx::query("UPDATE accounts SET attempts = attempts + 1").execute(&mut *tx).await?;
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the server.
    ///
    /// Cancel-safety: dropping the future leaves the transaction to its end; do not go on with the `Tx` after it.
    pub async fn savepoint(&mut self) -> Result<Transaction<'_, Db>, sqlx::Error> {
        self.deref_mut().begin().await
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.lease {
            Some(lease) => &lease.peek().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.lease {
            Some(lease) => &mut lease.connection().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.lease.take();
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}
