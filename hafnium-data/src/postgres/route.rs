//! Which nodes an operation may go to, from what the monitor published. Pure.

use super::monitor::Snapshot;
use super::session::SessionAttrs;
use super::settings::ReaderFallback;
use super::token::Token;
use super::topology::NodeId;

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Destination {
    /// The primary.
    #[default]
    Writer,
    /// A replica that is near enough, else the primary.
    Reader,
    /// A replica that has replayed what the token stands for, else the primary.
    ReaderAfter(Token),
    /// What the URL asks for.
    Session(SessionAttrs),
}

impl Destination {
    /// Whether there is a node to go to.
    pub(crate) fn is_met(self, snapshot: &Snapshot) -> bool {
        Route::to(self).choices(snapshot).next().is_some()
    }

    /// What is looked for, for an error.
    pub(crate) fn wanted(self) -> &'static str {
        Route::to(self).wanted()
    }
}

/// What one operation looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) destination: Destination,
    /// Nodes on which it failed already.
    pub(crate) avoided: &'a [NodeId],
    pub(crate) fallback: ReaderFallback,
}

/// What the last known primary is a primary of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) system: u64,
    pub(crate) timeline: u32,
}

/// What a token says of where to read, given the last known primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A replica may have it.
    Replica,
    /// Of a former timeline: how much of it the present one took over only the primary can be trusted to show.
    Primary,
    /// Of a timeline that we have not seen yet: the primary we know is deposed.
    Beyond,
    /// Of another cluster.
    Foreign,
}

impl Token {
    pub(crate) fn reach(&self, leader: Leader) -> Reach {
        use std::cmp::Ordering::{Equal, Greater, Less};
        if self.system != leader.system {
            return Reach::Foreign;
        }
        match self.timeline.cmp(&leader.timeline) {
            Less => Reach::Primary,
            Equal => Reach::Replica,
            Greater => Reach::Beyond,
        }
    }
}

impl Route<'_> {
    /// To any node that fits.
    pub(crate) fn to(destination: Destination) -> Self {
        Self {
            destination,
            avoided: &[],
            fallback: ReaderFallback::Primary,
        }
    }

    /// The nodes it may go to at once.
    pub(crate) fn choices<'s>(&self, snapshot: &'s Snapshot) -> impl Iterator<Item = NodeId> + use<'s, '_> {
        let readers: &[NodeId] = match self.destination {
            Destination::Reader => &snapshot.readers,
            Destination::Session(attrs) => attrs.standbys(snapshot),
            // Replicas are asked one by one before, see `reads`.
            Destination::Writer | Destination::ReaderAfter(_) => &[],
        };
        let avoided = self.avoided;
        let fresh = readers.iter().any(|id| !avoided.contains(id));
        let writer = snapshot
            .writer
            .ok()
            .filter(|_| !fresh && self.takes_primary(snapshot));
        // Where it failed once is better than nowhere.
        let again = !fresh && writer.is_none();
        readers
            .iter()
            .copied()
            .filter(move |id| again || !avoided.contains(id))
            .filter(move |_| fresh || again)
            .chain(writer)
    }

    /// The replicas that may have replayed what a token stands for.
    pub(crate) fn candidates(&self, snapshot: &Snapshot, token: &Token) -> Vec<NodeId> {
        if snapshot.leader.map(|leader| token.reach(leader)) != Some(Reach::Replica) {
            return Vec::new();
        }
        let fresh = snapshot.readers.iter().filter(|id| !self.avoided.contains(id));
        let fresh: Vec<_> = fresh.copied().collect();
        if fresh.is_empty() && self.fallback == ReaderFallback::None {
            return snapshot.readers.clone();
        }
        fresh
    }

    pub(crate) fn admits(&self, snapshot: &Snapshot, node: NodeId) -> bool {
        self.choices(snapshot).any(|choice| choice == node)
    }

    fn takes_primary(&self, snapshot: &Snapshot) -> bool {
        let permitted = self.fallback == ReaderFallback::Primary;
        match self.destination {
            Destination::Writer => true,
            Destination::Reader => permitted,
            Destination::Session(attrs) => attrs.takes_primary(snapshot),
            Destination::ReaderAfter(token) => {
                let reach = snapshot.leader.map(|leader| token.reach(leader));
                permitted && matches!(reach, Some(Reach::Replica | Reach::Primary))
            }
        }
    }

    /// What is looked for, for an error.
    pub(crate) fn wanted(&self) -> &'static str {
        match (self.destination, self.fallback) {
            (Destination::Writer, _) => "writable primary",
            (Destination::Session(attrs), _) => attrs.wanted(),
            (Destination::Reader, ReaderFallback::Primary) => "node to read from",
            (Destination::Reader, ReaderFallback::None) => "replica to read from",
            (Destination::ReaderAfter(_), ReaderFallback::Primary) => {
                "node that has what the token stands for"
            }
            (Destination::ReaderAfter(_), ReaderFallback::None) => {
                "replica that has what the token stands for"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::topology::{NoWriter, Split};

    fn leader() -> Leader {
        Leader {
            system: 7,
            timeline: 3,
        }
    }

    fn snapshot(writer: Option<usize>, readers: &[usize]) -> Snapshot {
        Snapshot {
            writer: writer.map(NodeId).ok_or(NoWriter::NoPrimary),
            readers: readers.iter().copied().map(NodeId).collect(),
            standbys: Vec::new(),
            read_only: false,
            leader: Some(leader()),
            split: Split::None,
        }
    }

    fn token(timeline: u32) -> Token {
        Token {
            system: 7,
            timeline,
            position: 100,
        }
    }

    fn chosen(
        snapshot: &Snapshot,
        destination: Destination,
        avoided: &[usize],
        fallback: ReaderFallback,
    ) -> Vec<usize> {
        let avoided: Vec<_> = avoided.iter().copied().map(NodeId).collect();
        let route = Route {
            destination,
            avoided: &avoided,
            fallback,
        };
        route.choices(snapshot).map(|id| id.0).collect()
    }

    use Destination::{Reader, ReaderAfter, Writer};
    use ReaderFallback::{None as Nowhere, Primary};

    #[test]
    fn readers_go_to_replicas_and_to_the_primary_only_without_one() {
        let all = snapshot(Some(0), &[1, 2]);
        assert_eq!(chosen(&all, Reader, &[], Primary), [1, 2]);
        assert_eq!(chosen(&all, Writer, &[], Nowhere), [0]);
        assert_eq!(chosen(&snapshot(Some(0), &[]), Reader, &[], Primary), [0]);
        assert!(chosen(&snapshot(Some(0), &[]), Reader, &[], Nowhere).is_empty());
        assert!(chosen(&snapshot(None, &[]), Reader, &[], Primary).is_empty());
    }

    #[test]
    fn after_a_failure_comes_the_other_replica_then_the_primary_then_anyone() {
        let all = snapshot(Some(0), &[1, 2]);
        assert_eq!(chosen(&all, Reader, &[1], Primary), [2]);
        assert_eq!(chosen(&all, Reader, &[1, 2], Primary), [0]);
        assert_eq!(chosen(&all, Reader, &[1, 2, 0], Primary), [0]);
        assert_eq!(chosen(&all, Reader, &[1, 2], Nowhere), [1, 2]);
        assert_eq!(chosen(&snapshot(None, &[1]), Reader, &[1], Primary), [1]);
        assert_eq!(chosen(&all, Writer, &[0], Primary), [0]);
    }

    #[test]
    fn a_token_goes_to_the_primary_of_its_own_or_a_later_timeline_and_never_to_an_earlier_one() {
        let all = snapshot(Some(0), &[1, 2]);
        assert_eq!(chosen(&all, ReaderAfter(token(3)), &[], Primary), [0]);
        assert_eq!(chosen(&all, ReaderAfter(token(2)), &[], Primary), [0]);
        assert!(chosen(&all, ReaderAfter(token(4)), &[], Primary).is_empty());
        assert!(chosen(&all, ReaderAfter(token(3)), &[], Nowhere).is_empty());
        let foreign = Token {
            system: 8,
            ..token(3)
        };
        assert!(chosen(&all, ReaderAfter(foreign), &[], Primary).is_empty());
    }

    #[test]
    fn replicas_are_asked_only_for_a_token_of_the_present_timeline() {
        let all = snapshot(Some(0), &[1, 2]);
        let asked = |token: Token, avoided: &[NodeId], fallback| {
            let route = Route {
                destination: ReaderAfter(token),
                avoided,
                fallback,
            };
            route.candidates(&all, &token)
        };
        assert_eq!(asked(token(3), &[], Primary), [NodeId(1), NodeId(2)]);
        assert_eq!(asked(token(3), &[NodeId(2)], Primary), [NodeId(1)]);
        assert!(asked(token(3), &[NodeId(1), NodeId(2)], Primary).is_empty());
        assert_eq!(asked(token(3), &[NodeId(1), NodeId(2)], Nowhere).len(), 2);
        assert!(asked(token(2), &[], Primary).is_empty());
        assert!(asked(token(4), &[], Nowhere).is_empty());
    }

    #[test]
    fn a_node_that_was_deposed_meanwhile_is_no_choice_for_what_it_was_taken_for() {
        let deposed = snapshot(Some(1), &[0]);
        let admits = |snapshot: &Snapshot, destination, node| {
            let route = Route {
                destination,
                avoided: &[],
                fallback: Primary,
            };
            route.admits(snapshot, NodeId(node))
        };
        assert!(!admits(&deposed, Writer, 0));
        assert!(admits(&deposed, Reader, 0));
        assert!(admits(&deposed, Writer, 1));
        assert!(!admits(&snapshot(None, &[]), Writer, 0));
        assert!(!admits(&snapshot(None, &[]), Reader, 0));
    }

    proptest! {
        #[test]
        fn a_choice_is_known_usable_and_there_is_one_whenever_one_is_permitted(
            writer in proptest::option::of(0_usize..4),
            readers in proptest::collection::btree_set(0_usize..4, 0..4),
            avoided in proptest::collection::vec(0_usize..4, 0..6),
            permitted: bool,
            timeline in 1_u32..6,
            destination in 0_u8..3,
        ) {
            let readers: Vec<_> = readers.into_iter().filter(|id| Some(*id) != writer).collect();
            let snapshot = snapshot(writer, &readers);
            let fallback = if permitted { Primary } else { Nowhere };
            let destination = match destination {
                0 => Writer,
                1 => Reader,
                _ => ReaderAfter(token(timeline)),
            };
            let got = chosen(&snapshot, destination, &avoided, fallback);
            for id in &got {
                prop_assert!(readers.contains(id) || Some(*id) == writer);
            }
            let expected_some = match destination {
                Writer => writer.is_some(),
                Reader => !readers.is_empty() || (permitted && writer.is_some()),
                _ => permitted && writer.is_some() && timeline <= 3,
            };
            prop_assert_eq!(!got.is_empty(), expected_some);
            // An avoided replica is chosen only where no other node may be.
            if got.iter().any(|id| readers.contains(id) && avoided.contains(id)) {
                prop_assert!(readers.iter().all(|id| avoided.contains(id)));
                prop_assert!(!permitted || writer.is_none());
            }
        }
    }
}
