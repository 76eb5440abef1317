//! For libraries that demand a pool or a connection of sqlx itself: what they get is not ours any more.
//!
//! These are escapes, and named for what they are. Nothing on this page follows a failover, ends with a cut node, tells
//! an outcome or is counted against `max`. What the handle itself can't be used for:
//!
//! * anything that takes `impl sqlx::Acquire` or a `PgPool`: sqlx implements `Acquire` for its own pool and connections
//!   only, and the trait can't be had for a foreign one. Code of your own takes an [`Executor`](sqlx::Executor), or the
//!   `Tx` of [`transaction`](Postgres::transaction), which is a [`PgConnection`] under guard;
//! * sqlx's `PgListener`: [`listen`](Postgres::listen) takes its place;
//! * `Migrator::run(&pool)`: [`migrate`](Postgres::migrate) takes its place;
//! * `#[sqlx::test]`, which makes a pool of its own.
//!
//! ```compile_fail
//! async fn of_a_library<'a>(database: impl sqlx::Acquire<'a, Database = sqlx::Postgres>) {}
//!
//! async fn example(ledger: hafnium_data::postgres::Postgres) {
//!     of_a_library(&ledger).await; // the trait bound is not satisfied
//! }
//! ```

use hafnium_core::Outcome;
use sqlx::PgPool;
use sqlx::postgres::{PgConnection, PgPoolOptions};

use super::handle::Postgres;
use super::operation::guarded;
use super::route::Destination;

impl Postgres {
    /// A pool of sqlx's own, to the node that is the primary now, for a library that takes nothing else.
    ///
    /// **Unguarded:** it stays with that node after a failover, also with a deposed one; its connections are not counted
    /// against `max`, know the credentials of now only, and are closed by nobody but the caller. A host that is a name is
    /// resolved as for the handle, for each connection when it is opened. What
    /// `test_before_acquire`, `acquire_timeout` and the rest do is sqlx's.
    ///
    /// ```no_run
    /// # async fn example(ledger: hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// use sqlx::postgres::PgPoolOptions;
    ///
    /// let pool = ledger.unguarded_pool(PgPoolOptions::new().max_connections(2)).await?;
    /// # drop(pool);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Detail::NoNode`](super::Detail::NoNode) when no primary is found in time, [`Detail::NeedsSession`](super::Detail::NeedsSession) with `prepared_statements = false`.
    /// Nothing is connected yet.
    ///
    /// Cancel-safe.
    pub async fn unguarded_pool(&self, options: PgPoolOptions) -> Result<PgPool, sqlx::Error> {
        self.client().opening.session("unguarded_pool()")?;
        let node = self
            .client()
            .settle_on(Destination::Writer, self.view().deadline())
            .await?;
        let (login, carried) = node.opener.lasting()?;
        let pool = options.connect_lazy_with(login);
        if let Some(carried) = carried {
            // Closed by its owner, or dropped.
            let mut closed = pool.close_event();
            tokio::spawn(async move { closed.do_until(carried).await });
        }
        Ok(pool)
    }

    /// A connection of sqlx's own, logged in to the node that is the primary now.
    ///
    /// **Unguarded:** as [`unguarded_pool`](Self::unguarded_pool). No statement on it is bounded, and a frozen server
    /// is waited for for ever.
    ///
    /// # Errors
    /// As there, and those of the login.
    ///
    /// Cancel-safe.
    pub async fn unguarded_connection(&self) -> Result<PgConnection, sqlx::Error> {
        let client = self.client();
        client.opening.session("unguarded_connection()")?;
        let deadline = self.view().deadline();
        let node = client.settle_on(Destination::Writer, deadline).await?;
        let pass = node.tenure.pass();
        let login = node.opener.open_apart(|options| options);
        let waited_for = "a login";
        guarded(
            pass.cut(),
            &node.label,
            deadline,
            waited_for,
            Outcome::NotRun,
            login,
        )
        .await
    }
}
