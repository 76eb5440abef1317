//! How deep sqlx believes a connection to be in transactions.
//!
//! sqlx counts, and takes the count for what a `begin`, a `commit` and a rollback mean: at zero `begin` is a BEGIN, above
//! it a SAVEPOINT. We send BEGIN and COMMIT ourselves, which it does not count, so its count is raised once per
//! connection and left there.
//!
//! It is raised to three and not to one, because of what sqlx does when a savepoint fails or its future is dropped: it
//! queues rollbacks of the two levels *before*, and counts two less. With one below, that would be a ROLLBACK of the
//! whole, and what follows would take effect on its own. With three they are rollbacks to savepoints that are not there,
//! errors that make the server refuse everything up to the end of the transaction.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Database, Executor as _, Postgres as Db, SqlStr, Transaction};
use sqlx_core::transaction::TransactionManager;

use super::error::Detail;
use super::opener::Connection;

/// The count in a transaction of ours, outside of its savepoints.
const DEPTH: usize = 3;

/// What sqlx calls the first savepoint that raises its count. They are gone at once: in a transaction within a
/// transaction, no isolation level can be set.
const RELEASE: &str = "RELEASE SAVEPOINT _sqlx_savepoint_1";

/// Begins a transaction by `begin`. If that fails the connection must not be used again: it may be in a transaction.
pub(crate) async fn begin(connection: &mut Connection, begin: SqlStr) -> Result<(), sqlx::Error> {
    let Connection { link, nests, .. } = connection;
    if *nests {
        link.execute(begin).await?;
    } else {
        // Forgotten, so that the count stays; they hold nothing but the borrow of the connection.
        std::mem::forget(link.begin_with(begin).await?);
        std::mem::forget(link.begin().await?);
        std::mem::forget(link.begin().await?);
        link.execute(RELEASE).await?;
        *nests = true;
    }
    Ok(())
}

/// A transaction within the transaction of `link`.
pub(crate) async fn savepoint(link: &mut PgConnection) -> Result<Transaction<'_, Db>, sqlx::Error> {
    // Another failure would go one level further down.
    check(link)?;
    link.begin().await
}

/// # Errors
/// [`Detail::Aborted`] when a savepoint failed, after which nothing of the transaction can be committed and the connection
/// is of no more use.
pub(crate) fn check(link: &PgConnection) -> Result<(), Detail> {
    if <Db as Database>::TransactionManager::get_transaction_depth(link) < DEPTH {
        Err(Detail::Aborted)
    } else {
        Ok(())
    }
}
