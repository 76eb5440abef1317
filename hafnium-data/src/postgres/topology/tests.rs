use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// A topology with a clock that ticks 10 ms with each evidence.
struct World {
    topology: Topology,
    now: Instant,
}

impl World {
    fn new(nodes: usize) -> Self {
        let now = Instant::now();
        Self {
            topology: Topology::new(nodes, Duration::from_secs(10), now),
            now,
        }
    }

    fn tell(&mut self, id: NodeId, evidence: Evidence) -> Vec<Action> {
        self.now += Duration::from_millis(10);
        self.topology.report(id, self.now, evidence, self.now)
    }

    /// A trio with A as primary on timeline 1.
    fn trio() -> Self {
        let mut world = Self::new(3);
        world.tell(A, primary(1, 1));
        world.tell(B, standby(2));
        world.tell(C, standby(3));
        assert_eq!(world.topology.writer(), Ok(A));
        world
    }
}

fn seen(started: i64, role: Role) -> Evidence {
    Evidence::Seen(Observation {
        system: 7,
        started,
        role,
    })
}

fn primary(timeline: u32, started: i64) -> Evidence {
    primary_at(timeline, started, 100)
}

fn primary_at(timeline: u32, started: i64, position: i64) -> Evidence {
    let read_only = false;
    let role = Role::Primary {
        timeline,
        position,
        read_only,
    };
    seen(started, role)
}

fn standby(started: i64) -> Evidence {
    standby_at(started, 100, None)
}

fn standby_at(started: i64, replayed: i64, follows: Option<Following>) -> Evidence {
    let replayed = Some(replayed);
    seen(started, Role::Standby { replayed, follows })
}

fn failed(kind: FailureKind) -> Evidence {
    Evidence::Failed(Failure {
        kind,
        reason: "test".into(),
    })
}

#[test]
fn no_writer_before_every_node_was_heard_or_given_up() {
    let mut world = World::new(3);
    world.tell(A, primary(1, 1));
    world.tell(B, standby(2));
    assert_eq!(world.topology.writer(), Err(NoWriter::Unsurveyed));
    world.tell(C, failed(FailureKind::Silent));
    assert_eq!(world.topology.writer(), Ok(A));
}

#[test]
fn a_deposed_primary_that_is_heard_first_at_start_never_becomes_the_writer() {
    let mut world = World::new(2);
    world.tell(A, primary(1, 1));
    let actions = world.tell(B, primary(2, 2));
    assert_eq!(world.topology.writer(), Ok(B));
    assert!(actions.contains(&Action::Cut(A, CutReason::Deposed)));
}

#[test]
fn one_late_probe_suspects_a_second_downs_and_neither_cuts() {
    let mut world = World::trio();
    assert_eq!(world.tell(A, Evidence::Late), []);
    assert_eq!(
        world.topology.node(A).map(|node| node.phase),
        Some(Phase::Suspect)
    );
    assert_eq!(world.topology.writer(), Err(NoWriter::NoPrimary));
    assert_eq!(world.tell(A, Evidence::Late), []);
    assert_eq!(world.topology.node(A).map(|node| node.phase), Some(Phase::Down));
    world.tell(A, primary(1, 1));
    assert_eq!(world.topology.writer(), Ok(A));
}

#[test]
fn a_promoted_standby_is_the_writer_at_once_and_the_frozen_primary_is_cut() {
    let mut world = World::trio();
    world.tell(A, Evidence::Late);
    let actions = world.tell(B, primary(2, 2));
    assert_eq!(world.topology.writer(), Ok(B));
    let took_over = Action::TookOver(B, Duration::from_millis(10));
    assert_eq!(actions, [Action::Cut(A, CutReason::Deposed), took_over]);
    // Thawed, it still says primary: nothing changes, and it is not cut again and again.
    assert_eq!(world.tell(A, primary(1, 1)), []);
    assert_eq!(world.topology.writer(), Ok(B));
    // Back as a standby it is a normal node again.
    assert_eq!(world.tell(A, standby(9)), [Action::Drain(A), Action::Warm(A)]);
    assert!(!world.topology.deposed(A));
}

#[test]
fn the_old_primary_never_comes_back_while_the_new_one_is_down() {
    let mut world = World::trio();
    world.tell(B, primary(2, 2));
    world.tell(B, failed(FailureKind::Unreachable));
    world.tell(B, failed(FailureKind::Unreachable));
    world.tell(A, primary(1, 1));
    assert_eq!(world.topology.writer(), Err(NoWriter::NoPrimary));
}

#[test]
fn equal_timelines_on_two_servers_stop_writes_until_one_vanishes() {
    let mut world = World::trio();
    world.tell(A, failed(FailureKind::Unreachable));
    world.tell(A, failed(FailureKind::Unreachable));
    world.tell(B, primary(2, 2));
    let actions = world.tell(C, primary(2, 3));
    assert_eq!(world.topology.writer(), Err(NoWriter::SplitBrain));
    assert!(actions.contains(&Action::Cut(B, CutReason::SplitBrain)));
    assert!(actions.contains(&Action::Cut(C, CutReason::SplitBrain)));
    world.tell(C, failed(FailureKind::Unreachable));
    assert_eq!(
        world.topology.writer(),
        Err(NoWriter::SplitBrain),
        "suspicion alone decides nothing"
    );
    world.tell(C, failed(FailureKind::Unreachable));
    assert_eq!(world.topology.writer(), Ok(B));
}

#[test]
fn the_operator_decides_a_split_brain_and_who_lost_it_is_not_believed_while_the_other_is_away() {
    let mut world = World::trio();
    world.topology = world.topology.believing(Some(C));
    world.tell(A, failed(FailureKind::Unreachable));
    world.tell(A, failed(FailureKind::Unreachable));
    world.tell(B, primary(2, 2));
    assert_eq!(world.topology.writer(), Ok(B), "without a split it says nothing");
    let actions = world.tell(C, primary(2, 3));
    assert!(actions.contains(&Action::Cut(B, CutReason::Overruled)));
    assert_eq!(world.topology.writer(), Ok(C));
    assert!(world.topology.deposed(B) && !world.topology.deposed(C));
    assert_eq!(world.topology.split(), Split::Decided);
    // Nothing shows which of the two a standby follows.
    world.tell(A, standby(9));
    world.tell(C, primary(2, 3));
    assert_eq!(world.topology.readers(world.now), []);
    for _ in 0..2 {
        world.tell(C, failed(FailureKind::Unreachable));
        let actions = world.tell(B, primary(2, 20));
        let drained = |action: &Action| *action == Action::Drain(B);
        assert!(actions.iter().all(drained), "also after a restart: {actions:?}");
        assert_eq!(world.topology.writer(), Err(NoWriter::NoPrimary));
    }
    world.tell(C, primary(2, 3));
    assert_eq!(world.topology.writer(), Ok(C));
    world.tell(B, standby(21));
    assert_eq!(world.topology.split(), Split::None);
    assert_eq!(world.topology.readers(world.now), [A, B]);
    // The decision was about that timeline.
    world.tell(B, primary(3, 21));
    assert_eq!(world.topology.writer(), Ok(B));
}

#[test]
fn one_server_under_two_names_is_no_split_brain() {
    let mut world = World::new(2);
    world.tell(A, primary(1, 5));
    world.tell(B, primary(1, 5));
    assert_eq!(world.topology.writer(), Ok(A));
}

fn stranger() -> Evidence {
    Evidence::Seen(Observation {
        system: 8,
        started: 2,
        role: Role::Primary {
            timeline: 9,
            position: 1,
            read_only: false,
        },
    })
}

#[test]
fn a_node_of_another_cluster_is_refused_also_at_the_start_and_at_the_first_place() {
    for [us, ours, theirs] in [[A, B, C], [B, C, A]] {
        let mut world = World::new(3);
        world.tell(us, primary(1, 1));
        world.tell(theirs, stranger());
        let actions = world.tell(ours, standby(3));
        assert!(actions.contains(&Action::Cut(theirs, CutReason::WrongCluster)));
        assert_eq!(world.topology.writer(), Ok(us));
    }
}

#[test]
fn where_one_node_stands_against_one_nobody_writes_until_a_node_says_something_else() {
    for [us, theirs] in [[A, B], [B, A]] {
        let mut world = World::new(2);
        world.tell(us, primary(1, 1));
        assert_eq!(world.tell(theirs, stranger()), []);
        assert_eq!(world.topology.writer(), Err(NoWriter::Disagreement));
        // Its silence takes nothing back.
        world.tell(theirs, failed(FailureKind::Unreachable));
        world.tell(theirs, failed(FailureKind::Unreachable));
        assert_eq!(world.topology.writer(), Err(NoWriter::Disagreement));
        world.tell(theirs, standby(4));
        assert_eq!(world.topology.writer(), Ok(us));
    }
}

#[test]
fn a_late_answer_never_overwrites_newer_evidence() {
    let mut world = World::trio();
    let asked = world.now;
    world.now += Duration::from_millis(10);
    world.topology.suspect(A, world.now);
    world.topology.report(A, asked, primary(1, 1), world.now);
    assert_eq!(world.topology.writer(), Err(NoWriter::NoPrimary));
    world.tell(A, primary(1, 1));
    assert_eq!(world.topology.writer(), Ok(A));
}

#[test]
fn panic_lasts_until_a_primary_is_confirmed_by_a_question_asked_later_and_wears_out() {
    let mut world = World::trio();
    assert_eq!(world.topology.tempo(world.now), Tempo::Calm);
    world.tell(B, failed(FailureKind::Unreachable));
    assert_eq!(
        world.topology.tempo(world.now),
        Tempo::Panic,
        "a lost standby asks for one round"
    );
    world.tell(A, primary(1, 1));
    assert_eq!(world.topology.tempo(world.now), Tempo::Calm);
    world.tell(A, failed(FailureKind::Unreachable));
    assert_eq!(world.topology.tempo(world.now), Tempo::Panic);
    assert_eq!(
        world.topology.tempo(world.now + Duration::from_secs(31)),
        Tempo::Worn
    );
}

#[test]
fn a_vanished_process_drains_its_idle_connections_and_a_late_one_does_not() {
    let mut world = World::trio();
    assert_eq!(world.tell(B, Evidence::Late), []);
    assert_eq!(
        world.tell(C, failed(FailureKind::Unreachable)),
        [Action::Drain(C)]
    );
    assert_eq!(
        world.tell(A, primary(1, 99)),
        [Action::Drain(A), Action::Warm(A)],
        "restarted between two probes"
    );
}

#[test]
fn a_node_that_was_silent_for_long_gets_new_connections_and_a_short_stall_keeps_them() {
    let mut world = World::trio();
    world.tell(A, Evidence::Late);
    world.now += Duration::from_millis(300);
    world.tell(A, Evidence::Late);
    assert_eq!(world.tell(A, primary(1, 1)), [Action::Warm(A)]);
    world.tell(A, Evidence::Late);
    world.now += Duration::from_secs(2);
    world.tell(A, Evidence::Late);
    assert_eq!(world.tell(A, primary(1, 1)), [Action::Drain(A), Action::Warm(A)]);
}

#[test]
fn every_node_is_warmed_once_it_is_known_to_be_of_the_cluster() {
    let mut world = World::new(3);
    assert_eq!(world.tell(A, primary(1, 1)), []);
    assert_eq!(world.tell(B, standby(2)), []);
    let all = [A, B, C].map(Action::Warm);
    assert_eq!(world.tell(C, standby(3)), all);
    assert_eq!(world.tell(B, standby(2)), []);
}

#[test]
fn readers_are_standbys_near_the_primary() {
    let mut world = World::trio();
    world.tell(A, primary(1, 1));
    assert_eq!(world.topology.readers(world.now), [B, C]);
    world.tell(C, standby_at(3, 1, None));
    assert_eq!(world.topology.readers(world.now), [B]);
}

#[test]
fn a_standby_that_receives_a_lower_timeline_is_no_reader_once_it_missed_the_turn() {
    let mut world = World::trio();
    let follows = |timeline, at| standby_at(3, at, Some(Following::Received(timeline)));
    world.tell(A, primary(1, 1));
    world.tell(C, follows(1, 100));
    assert_eq!(world.topology.readers(world.now), [B, C]);
    world.tell(B, primary_at(2, 2, 110));
    // It lacks what the new primary has, and may be turning.
    assert_eq!(world.topology.readers(world.now), []);
    assert_eq!(world.topology.standbys(), [C]);
    world.tell(C, follows(1, 120));
    world.tell(B, primary_at(2, 2, 200));
    assert_eq!(world.topology.readers(world.now), []);
    assert_eq!(world.topology.standbys(), []);
    assert!(world.topology.diverged(C));
    // Its receiver ended; then it was made again from the new primary.
    world.tell(C, standby_at(3, 120, None));
    assert!(world.topology.diverged(C));
    world.tell(C, standby_at(4, 120, Some(Following::AtLeast(1))));
    assert!(!world.topology.diverged(C));
    world.tell(C, standby_at(4, 130, Some(Following::Received(2))));
    assert_eq!(world.topology.readers(world.now), [C]);
}

#[test]
fn a_standby_that_was_ahead_of_the_primary_when_that_was_asked_later_is_no_reader_ever_after() {
    let mut world = World::trio();
    world.tell(B, primary_at(2, 2, 110));
    world.tell(C, standby_at(3, 111, None));
    assert_eq!(world.topology.readers(world.now), [C], "it may be newer");
    let asked = world.now - Duration::from_millis(1);
    world.topology.report(B, asked, primary_at(2, 2, 110), world.now);
    assert!(!world.topology.diverged(C), "B had been asked before C answered");
    world.tell(B, primary_at(2, 2, 110));
    assert!(world.topology.diverged(C));
    world.tell(B, primary_at(2, 2, 500));
    world.tell(C, standby_at(3, 200, None));
    assert_eq!(world.topology.readers(world.now), []);
    world.tell(C, standby_at(4, 200, None));
    assert_eq!(world.topology.readers(world.now), [C], "another process");
}

#[test]
fn credentials_count_as_refused_only_when_no_node_lets_us_in() {
    let mut world = World::new(2);
    for _ in 0..3 {
        assert!(world.topology.credentials_refused().is_none());
        world.tell(A, failed(FailureKind::Refused));
        world.tell(B, failed(FailureKind::Unreachable));
    }
    assert!(world.topology.credentials_refused().is_some());
    world.tell(B, standby(2));
    assert!(world.topology.credentials_refused().is_none());
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        (1u32..5, 1i64..4).prop_map(|(timeline, started)| primary(timeline, started)),
        (1i64..4).prop_map(standby),
        Just(Evidence::Late),
        Just(failed(FailureKind::Unreachable)),
        Just(failed(FailureKind::Silent)),
    ]
}

proptest! {
    /// The invariant of the module, against an independent memory of everything that was ever told.
    #[test]
    fn the_writer_is_up_says_primary_and_no_timeline_was_ever_higher(
        story in prop::collection::vec((0usize..3, any_evidence()), 1..60)
    ) {
        let mut world = World::new(3);
        let mut told: [Option<Evidence>; 3] = [None, None, None];
        let mut highest = 0;
        for (index, evidence) in story {
            if let Evidence::Seen(Observation { role: Role::Primary { timeline, .. }, .. }) = &evidence {
                highest = highest.max(*timeline);
            }
            told[index] = Some(evidence.clone());
            world.tell(NodeId(index), evidence);
            if let Ok(writer) = world.topology.writer() {
                let Some(Evidence::Seen(Observation { role: Role::Primary { timeline, .. }, .. })) = &told[writer.0]
                else {
                    return Err(TestCaseError::fail("the writer's newest evidence is no primary"));
                };
                prop_assert_eq!(*timeline, highest);
                prop_assert!(!world.topology.deposed(writer));
            }
        }
    }

    /// Whatever happened, one true answer from each node brings the writer back.
    #[test]
    fn the_truth_from_every_node_always_restores_the_writer(
        story in prop::collection::vec((0usize..3, any_evidence()), 0..60)
    ) {
        let mut world = World::new(3);
        for (index, evidence) in story {
            world.tell(NodeId(index), evidence);
        }
        world.tell(A, standby(1));
        world.tell(C, standby(3));
        world.tell(B, primary(9, 2));
        prop_assert_eq!(world.topology.writer(), Ok(B));
    }
}
