//! One listening connection, until it is lost.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};

use super::super::pool::Node;
use super::super::tenure::Pass;

/// A quiet connection is asked for a sign of life after this time.
const QUIET: Duration = Duration::from_secs(5);
/// How long the sign may take.
const SIGN: Duration = Duration::from_secs(2);

/// A connection that listens. sqlx shows notifications through its own listener only, so this is one that is kept from
/// reconnecting: it could only go back to the same node, and would say nothing of it.
pub(super) struct Ear {
    /// Taken by `drop` alone.
    listener: Option<PgListener>,
    pub(super) node: Arc<Node>,
    pub(super) pass: Pass,
}

impl Ear {
    /// Logs in to `node` and listens.
    ///
    /// Cancel-safe: dropping the future closes the connection.
    pub(super) async fn open(node: Arc<Node>, pass: Pass, channels: &[String]) -> Result<Self, sqlx::Error> {
        let login = |options| async {
            // It dials on the first use, and once.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options);
            PgListener::connect_with(&pool).await
        };
        let mut listener = node.opener.log_in_by(login).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        let mut ear = Self {
            listener: Some(listener),
            node,
            pass,
        };
        ear.listener()
            .listen_all(channels.iter().map(String::as_str))
            .await?;
        Ok(ear)
    }

    fn listener(&mut self) -> &mut PgListener {
        match &mut self.listener {
            Some(listener) => listener,
            None => unreachable!("only dropping an Ear takes its listener"),
        }
    }

    /// The next notification, or how the connection was lost. A silent one is found out.
    ///
    /// Cancel-safe.
    pub(super) async fn hear(&mut self) -> Result<PgNotification, String> {
        loop {
            match tokio::time::timeout(QUIET, self.listener().try_recv()).await {
                Ok(Ok(Some(notification))) => return Ok(notification),
                Ok(Ok(None)) => return Err("the connection was closed".to_owned()),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => {
                    // What is notified meanwhile is kept by the listener.
                    let sign = self.listener().execute("SELECT 1");
                    match tokio::time::timeout(SIGN, sign).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return Err(error.to_string()),
                        Err(_) => return Err(format!("no sign of life within {SIGN:?}")),
                    }
                }
            }
        }
    }
}

impl Drop for Ear {
    /// sqlx's listener says UNLISTEN in a task of its own when it is dropped, and a silent server would never let that
    /// task end. So the task is given to a runtime that never runs, and ends with it: the socket is closed.
    fn drop(&mut self) {
        let listener = self.listener.take();
        let Ok(nowhere) = tokio::runtime::Builder::new_current_thread().build() else {
            return;
        };
        let entered = nowhere.enter();
        drop(listener);
        drop(entered);
        nowhere.shutdown_background();
    }
}
