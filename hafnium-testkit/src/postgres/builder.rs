//! What a cluster shall look like.

use super::cluster::PostgresCluster;
use crate::Error;

/// When a commit on the primary is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// As soon as the primary has it: a failover may lose acknowledged writes.
    #[default]
    Off,
    /// When any one standby has it too (`ANY 1 (…)`): what is acknowledged survives the primary.
    AnyOne,
}

/// Describes a cluster; made by [`PostgresCluster::builder`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) standbys: usize,
    pub(crate) synchronous: Synchronous,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            standbys: 2,
            synchronous: Synchronous::Off,
        }
    }

    /// Streaming standbys beside the primary. Default 2; with 0 a single server starts in about a second.
    pub fn standbys(self, standbys: usize) -> Builder {
        Builder { standbys, ..self }
    }

    /// When commits are acknowledged. Default [`Synchronous::Off`].
    pub fn synchronous(self, synchronous: Synchronous) -> Builder {
        Builder { synchronous, ..self }
    }

    /// Starts the cluster; on return every standby streams and, where asked for, commits wait for one.
    ///
    /// Cancel-safe: a dropped call leaves nothing running.
    ///
    /// # Errors
    /// [`Error::Missing`] without an installed server; [`Error::Ended`] and [`Error::NotReady`] with the log of the
    /// server that did not come up.
    pub async fn start(self) -> Result<PostgresCluster, Error> {
        PostgresCluster::bring_up(self).await
    }
}
