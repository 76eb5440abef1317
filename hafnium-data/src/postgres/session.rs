//! Which nodes a URL asks for: libpq's `target_session_attrs` and `load_balance_hosts`.
//!
//! libpq tries hosts until one fits and stays there; a handle goes where it fits now, and follows.

use super::monitor::Snapshot;
use super::route::Destination;
use super::topology::NodeId;

/// `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SessionAttrs {
    /// The primary; without one, any node that answers.
    Any,
    /// The primary, and a start waits until it takes writes.
    #[default]
    ReadWrite,
    /// A standby; without one, a primary whose sessions are read-only.
    ReadOnly,
    /// The primary, also one whose sessions are read-only.
    Primary,
    /// A standby, however far behind.
    Standby,
    /// A standby, however far behind; without one, the primary.
    PreferStandby,
}

/// Which of several nodes that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Balance {
    /// The one with the fewest operations: what is done where the URL says nothing.
    #[default]
    LeastUsed,
    /// The first in the order of the URL: `load_balance_hosts=disable`.
    InOrder,
    /// Any of them: `load_balance_hosts=random`.
    Random,
}

impl SessionAttrs {
    pub(crate) const ACCEPTED: &'static str =
        "expected read-write, read-only, primary, standby, prefer-standby or any";

    pub(crate) fn read(value: &str) -> Option<Self> {
        Some(match value {
            "any" => Self::Any,
            "read-write" => Self::ReadWrite,
            "read-only" => Self::ReadOnly,
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "prefer-standby" => Self::PreferStandby,
            _ => return None,
        })
    }

    /// Where the operations of the handle go.
    pub(crate) fn destination(self) -> Destination {
        match self {
            Self::ReadWrite => Destination::Writer,
            other => Destination::Session(other),
        }
    }

    /// Whether what is asked for is a session that reads: then a refused write is the caller's mistake and no sign of
    /// a failover.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Standby | Self::PreferStandby)
    }

    /// The standbys to go to, before the primary.
    pub(crate) fn standbys(self, snapshot: &Snapshot) -> &[NodeId] {
        match self {
            Self::Any if snapshot.writer.is_ok() => &[],
            Self::ReadWrite | Self::Primary => &[],
            Self::Any | Self::ReadOnly | Self::Standby | Self::PreferStandby => &snapshot.standbys,
        }
    }

    /// Whether the primary fits.
    pub(crate) fn takes_primary(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Any | Self::ReadWrite | Self::Primary | Self::PreferStandby => true,
            Self::ReadOnly => snapshot.read_only,
            Self::Standby => false,
        }
    }

    /// What is looked for, for an error.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::Any => "node that answers",
            Self::ReadWrite => "writable primary",
            Self::ReadOnly => "read-only node",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "standby or primary",
        }
    }
}

impl Balance {
    pub(crate) const ACCEPTED: &'static str = "expected disable or random";

    pub(crate) fn read(value: &str) -> Option<Self> {
        match value {
            "disable" => Some(Self::InOrder),
            "random" => Some(Self::Random),
            _ => None,
        }
    }

    /// One of `nodes`, which are in the order of the URL.
    pub(crate) fn choose<T>(self, mut nodes: Vec<T>, users: impl Fn(&T) -> usize) -> Option<T> {
        let place = match self {
            Self::InOrder => 0,
            Self::Random if nodes.is_empty() => 0,
            Self::Random => fastrand::usize(..nodes.len()),
            Self::LeastUsed => (0..nodes.len()).min_by_key(|place| users(&nodes[*place]))?,
        };
        (place < nodes.len()).then(|| nodes.swap_remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::route::Route;
    use crate::postgres::topology::{NoWriter, Split};

    fn snapshot(writer: Option<usize>, standbys: &[usize], read_only: bool) -> Snapshot {
        Snapshot {
            writer: writer.map(NodeId).ok_or(NoWriter::NoPrimary),
            readers: Vec::new(),
            standbys: standbys.iter().copied().map(NodeId).collect(),
            read_only,
            leader: None,
            split: Split::None,
        }
    }

    fn chosen(attrs: &str, snapshot: &Snapshot) -> Vec<usize> {
        let attrs = SessionAttrs::read(attrs).unwrap();
        let route = Route::to(attrs.destination());
        route.choices(snapshot).map(|id| id.0).collect()
    }

    #[test]
    fn each_value_goes_where_libpq_would_stay() {
        let (trio, orphans) = (snapshot(Some(1), &[0, 2], false), snapshot(None, &[0, 2], false));
        let (alone, frozen) = (snapshot(Some(1), &[], false), snapshot(Some(1), &[], true));
        for (attrs, of_trio, of_orphans, of_alone, of_frozen) in [
            ("any", &[1][..], &[0, 2][..], &[1][..], &[1][..]),
            ("read-write", &[1], &[], &[1], &[1]),
            ("primary", &[1], &[], &[1], &[1]),
            ("read-only", &[0, 2], &[0, 2], &[], &[1]),
            ("standby", &[0, 2], &[0, 2], &[], &[]),
            ("prefer-standby", &[0, 2], &[0, 2], &[1], &[1]),
        ] {
            for (snapshot, wanted) in [
                (&trio, of_trio),
                (&orphans, of_orphans),
                (&alone, of_alone),
                (&frozen, of_frozen),
            ] {
                assert_eq!(chosen(attrs, snapshot), wanted, "{attrs} {snapshot:?}");
            }
        }
        assert_eq!(SessionAttrs::read("readwrite"), None);
    }

    #[test]
    fn the_first_the_least_used_or_any_is_chosen() {
        let users = |node: &usize| [3, 1, 2][*node];
        assert_eq!(Balance::InOrder.choose(vec![2, 0, 1], users), Some(2));
        assert_eq!(Balance::LeastUsed.choose(vec![2, 0, 1], users), Some(1));
        let all: std::collections::BTreeSet<_> = (0..200)
            .filter_map(|_| Balance::Random.choose(vec![0, 1, 2], users))
            .collect();
        assert_eq!(all.len(), 3);
        assert_eq!(Balance::Random.choose(Vec::new(), users), None);
        assert_eq!(Balance::InOrder.choose(Vec::new(), users), None);
    }
}
