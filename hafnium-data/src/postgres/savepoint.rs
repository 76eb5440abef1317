//! A transaction within a transaction.

use std::ops::{Deref, DerefMut};

use sqlx::{Error, Postgres as Db, Transaction};

use super::watched::Watched;

/// A part of a transaction that can be undone by itself; made by [`Tx::savepoint`](super::Tx::savepoint).
///
/// `.execute(&mut *savepoint)`, as on the [`Tx`](super::Tx). Dropped, it is rolled back with the next statement.
#[derive(Debug)]
#[must_use]
pub struct Savepoint<'a> {
    begun: Watched<Transaction<'a, Db>>,
}

impl<'a> Savepoint<'a> {
    pub(crate) fn new(begun: Watched<Transaction<'a, Db>>) -> Self {
        Self { begun }
    }

    /// Keeps what was done since as a part of the transaction; it lasts if that commits.
    ///
    /// # Errors
    /// Those of the server: 25P02 when one of its statements had failed.
    ///
    /// Cancel-safety: dropping the future leaves the transaction to its end; do not go on with it.
    pub async fn commit(self) -> Result<(), Error> {
        self.begun.link.commit().await
    }

    /// Undoes what was done since.
    ///
    /// # Errors
    /// Those of a connection that is lost.
    ///
    /// Cancel-safety: as [`commit`](Self::commit).
    pub async fn rollback(self) -> Result<(), Error> {
        self.begun.link.rollback().await
    }
}

impl<'a> Deref for Savepoint<'a> {
    type Target = Watched<Transaction<'a, Db>>;

    fn deref(&self) -> &Self::Target {
        &self.begun
    }
}

impl DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.begun
    }
}
