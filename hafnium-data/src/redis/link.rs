//! The connection that commands use now, as published by the monitor.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;

/// One logged-in connection to a node that said it is the primary.
#[derive(Debug)]
pub(crate) struct Node {
    /// `host:port`, for messages.
    pub(crate) address: String,
    pub(crate) connection: MultiplexedConnection,
    /// Cancelled when the node is no longer to be used: every command in flight races it.
    pub(crate) cut: CancellationToken,
}

/// What the monitor publishes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// Rises with every confirmation of a primary; a command that failed on one waits for a later one.
    pub(crate) confirmed: u64,
    /// The primary, if one is known.
    pub(crate) node: Option<Arc<Node>>,
    /// Why there is none, for messages.
    pub(crate) reason: String,
    /// Whether there is none because the login was refused.
    pub(crate) login_refused: bool,
    /// Whether the store was stopped for good.
    pub(crate) stopped: bool,
}

impl Link {
    /// Whether there is a primary that no command saw break.
    pub(crate) fn is_usable(&self) -> bool {
        self.node.as_ref().is_some_and(|node| !node.cut.is_cancelled())
    }
}
