//! An open transaction, as the closure has it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgConnection;

use super::pool::{Lease, Node};
use super::savepoint::Savepoint;
use super::token::PendingToken;
use super::view::View;
use super::watched::Watched;

/// Where a `Tx` leaves its connection.
pub(super) type Slot = Arc<Mutex<Option<Lease>>>;

/// An open transaction, given to the closure of [`transaction`](super::Postgres::transaction).
///
/// Dereferences to an executor: `.execute(&mut *tx)`, see [`Watched`]; and through it to [`PgConnection`], for functions
/// that want one. The library begins and ends the transaction; dropping the `Tx` only says that the closure is done with
/// it. It must be gone when the closure's future ends: one that was kept can't be committed, and the transaction is
/// rolled back ([`Detail::TxKept`](super::Detail::TxKept)).
///
/// [`savepoint`](Self::savepoint) is a transaction within it, [`token`](Self::token) tells replicas that have what it
/// wrote.
pub struct Tx {
    connection: Watched<Held>,
    slot: Slot,
    token: PendingToken,
}

/// The connection of a [`Tx`], which goes back to the library with it.
pub struct Held {
    /// Taken by dropping the `Tx` alone.
    lease: Option<Lease>,
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.lease {
            Some(lease) => &lease.peek().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.lease {
            Some(lease) => &mut lease.connection().link,
            None => unreachable!("only dropping a Tx takes its connection"),
        }
    }
}

impl Tx {
    /// On the connection of `lease`, which it leaves in `slot`.
    pub(super) fn new(lease: Lease, view: &View, node: Arc<Node>, slot: Slot, token: PendingToken) -> Self {
        let held = Held { lease: Some(lease) };
        Self {
            connection: Watched::new(held, view.clone(), node),
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
        &self.connection.node().label
    }

    /// The token of this transaction, without asking for it.
    pub(crate) fn pending(&self) -> PendingToken {
        self.token.clone()
    }

    /// A transaction within the transaction: rolled back to here unless its own `commit` is called, which keeps it as a
    /// part of the whole and makes nothing lasting by itself. A `begin` of sqlx on the `Tx` is the same, without a word of
    /// its slow statements.
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
    /// Those of the server. After one the whole can't be committed, whatever the closure makes of it
    /// ([`Detail::Aborted`](super::Detail::Aborted)).
    ///
    /// Cancel-safety: dropping the future ends the transaction in the same way.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, sqlx::Error> {
        self.connection.savepoint().await
    }
}

impl Deref for Tx {
    type Target = Watched<Held>;

    fn deref(&self) -> &Watched<Held> {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Watched<Held> {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.connection.link.lease.take();
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}
