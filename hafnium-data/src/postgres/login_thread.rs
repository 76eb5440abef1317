//! A login on a thread of its own.
//!
//! sqlx hashes a SCRAM password 4096 times and yields to its executor after each five (`connection/sasl.rs` of
//! sqlx-postgres 0.9.0): no poll is long, but a login then has to have its turn some eight hundred times, and on a
//! runtime that is busy each turn comes after those of all others. That is how logins take seconds just when a
//! failover and its load need them most. A thread gets its share of the processors from the system.

use std::future::Future;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One login with `options`, on a thread of its own.
///
/// Cancel-safe, as [`on_thread`].
pub(crate) async fn dial(options: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    // Boxed, or every login grows by that of sqlx.
    on_thread(Box::pin(async move { options.connect().await })).await?
}

/// Runs `login` to its end on a thread, whose name is that of what it does. Sockets that it opens belong to this runtime.
///
/// Cancel-safe: dropped, it ends the login and the thread at once.
///
/// # Errors
/// When there can be no thread, or the login panicked.
async fn on_thread<T: Send + 'static>(login: impl Future<Output = T> + Send + 'static) -> std::io::Result<T> {
    let runtime = Handle::current();
    let (mut answer, answered) = oneshot::channel();
    let work = async move {
        tokio::select! {
            biased;
            () = answer.closed() => {}
            done = login => {
                // Whoever gave up in this instant needs no answer.
                let _ = answer.send(done);
            }
        }
    };
    std::thread::Builder::new()
        .name("postgres-login".into())
        .spawn(move || runtime.block_on(work))?;
    answered
        .await
        .map_err(|_| std::io::Error::other("the thread of a login ended"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_ends_and_what_panics_is_an_error() {
        assert_eq!(on_thread(async { 7 }).await.unwrap(), 7);
        let (alive, ended) = oneshot::channel::<()>();
        let endless = on_thread(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let given_up = tokio::time::timeout(Duration::from_millis(20), endless).await;
        assert!(given_up.is_err());
        assert!(ended.await.is_err(), "the login was dropped");
        let panicked = on_thread(async { assert_eq!(1, 2, "made to happen") });
        assert!(panicked.await.is_err());
    }
}
