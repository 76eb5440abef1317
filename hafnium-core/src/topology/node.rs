//! One node of a dependency, and the pool of connections to it.

use std::borrow::Cow;

use serde::Serialize;

/// One node as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// `host:port`.
    pub address: String,
    /// What it is to the others: `primary`, `standby`, `deposed`, `broker`, `endpoint`; `unknown` by default.
    pub role: Cow<'static, str>,
    /// Whether it can be used.
    pub state: NodeState,
    /// The region it is in, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone of that region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What else a person wants to know of it, such as a lag or why it is down. Without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The connections to it, where they are pooled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// Whether a node can be used, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NodeState {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// In use, or ready to be.
    Up,
    /// Its newest answer was an error or is late.
    Suspect,
    /// Gets nothing: unreachable, deposed, ejected.
    Down,
}

/// How full a pool of connections is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Pool {
    /// Connections in use by operations.
    pub in_use: usize,
    /// Connections open and free.
    pub idle: usize,
    /// Connections it may hold.
    pub max: usize,
    /// Operations that wait for a connection.
    pub waiting: usize,
}

impl NodeState {
    /// The stable name: `unknown`, `up`, `suspect`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl Node {
    /// The node at `address`, of which nothing else is known.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            role: Cow::Borrowed("unknown"),
            state: NodeState::Unknown,
            region: None,
            zone: None,
            detail: None,
            pool: None,
        }
    }

    /// In that role.
    #[must_use]
    pub fn role(mut self, role: impl Into<Cow<'static, str>>) -> Self {
        self.role = role.into();
        self
    }

    /// In that state.
    #[must_use]
    pub fn state(mut self, state: NodeState) -> Self {
        self.state = state;
        self
    }

    /// In that region and zone.
    #[must_use]
    pub fn place(mut self, region: impl Into<String>, zone: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self.zone = Some(zone.into());
        self
    }

    /// With that to say of it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With that pool.
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pool = Some(pool);
        self
    }
}

impl Pool {
    /// A pool in which nobody waits.
    pub fn new(in_use: usize, idle: usize, max: usize) -> Self {
        Self {
            in_use,
            idle,
            max,
            waiting: 0,
        }
    }

    /// With so many operations that wait for a connection.
    #[must_use]
    pub fn waiting(mut self, waiting: usize) -> Self {
        self.waiting = waiting;
        self
    }
}
