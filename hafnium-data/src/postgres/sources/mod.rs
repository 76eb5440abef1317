//! Topology sources: what knows the members of a cluster besides the members themselves.
//!
//! Invariant: a source gives hints. Who takes writes is decided by what the nodes say of themselves to their probes, and
//! by the timelines; no source can make a node the primary, cut one or keep one. A hint makes the node that is named as
//! the leader be asked more often, and tells of members that the URL does not name. A source that fails, lies or is
//! silent changes nothing else.

mod follow;
mod hints;
mod patroni;
mod settings;

use hafnium_core::BoxFuture;

pub(crate) use hints::Hints;
pub(crate) use patroni::Patroni;
pub use settings::PatroniSettings;

use super::url::Host;

/// Something that knows the members of a cluster.
///
/// Patroni's REST API is one, switched on by `patroni.urls`; another one is given to
/// [`Postgres::consult`](super::Postgres::consult).
pub trait TopologySource: Send + Sync + 'static {
    /// What it is called in logs and metrics, such as `patroni`.
    fn name(&self) -> &'static str;

    /// The members as they are known now. Asked once a second, and more often while there is no primary; given up after
    /// two seconds, by dropping the future.
    ///
    /// # Errors
    /// Why they are not known, without secrets.
    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, SourceError>>;
}

/// One member of a cluster, as a source knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it is in the cluster.
    pub role: MemberRole,
    /// The timeline it is on, where that is known.
    pub timeline: Option<u32>,
    /// How many bytes of log it is behind, where that is known.
    pub lag: Option<u64>,
}

/// What a member is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberRole {
    /// The primary, or about to become it.
    Leader,
    /// Any other.
    Replica,
}

/// Why a source does not know the members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(String);

impl SourceError {
    /// With what was seen, without secrets.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl Member {
    /// A member of which nothing else is known.
    pub fn new(host: impl Into<String>, port: u16, role: MemberRole) -> Self {
        Self {
            host: host.into(),
            port,
            role,
            timeline: None,
            lag: None,
        }
    }

    /// As the URL names nodes.
    pub(crate) fn label(&self) -> String {
        let (name, port) = (self.host.clone(), self.port);
        Host { name, port }.to_string()
    }
}
