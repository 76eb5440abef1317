use proptest::prelude::*;

use super::*;
use crate::config::{Duration as Written, Ratio};

fn settings() -> BreakerSettings {
    BreakerSettings {
        minimum_calls: 4,
        probes: 2,
        ..BreakerSettings::default()
    }
}

fn machine(settings: &BreakerSettings) -> (Machine, Instant) {
    let now = Instant::now();
    (Machine::new(Rules::from(settings), now), now)
}

fn admitted(machine: &mut Machine, now: Instant) -> Ticket {
    machine.admit(now).0.expect("let through")
}

fn calls(machine: &mut Machine, verdict: Verdict, times: u32, now: Instant) {
    for _ in 0..times {
        let ticket = admitted(machine, now);
        machine.record(ticket, verdict, Duration::ZERO, now);
    }
}

fn half_open(settings: &BreakerSettings) -> (Machine, Instant) {
    let (mut machine, begun) = machine(settings);
    calls(&mut machine, Verdict::Failure, settings.minimum_calls, begun);
    assert_eq!(machine.state(), BreakerState::Open);
    (machine, begun + settings.open_for.get())
}

#[test]
fn it_opens_at_the_failure_rate_and_not_before_the_minimum_of_calls() {
    let (mut machine, now) = machine(&settings());
    calls(&mut machine, Verdict::Failure, 3, now);
    assert_eq!(machine.state(), BreakerState::Closed);
    calls(&mut machine, Verdict::Success, 1, now);
    assert_eq!(machine.state(), BreakerState::Open);
    assert_eq!(machine.opened(), 1);
}

#[test]
fn below_the_failure_rate_it_stays_closed() {
    let (mut machine, now) = machine(&settings());
    for _ in 0..100 {
        calls(&mut machine, Verdict::Success, 2, now);
        calls(&mut machine, Verdict::Failure, 1, now);
    }
    assert_eq!(machine.state(), BreakerState::Closed);
}

#[test]
fn what_a_caller_did_wrong_never_opens_it() {
    let (mut machine, now) = machine(&settings());
    calls(&mut machine, Verdict::Ignored, 1000, now);
    assert_eq!(machine.state(), BreakerState::Closed);
    assert_eq!(machine.counts(now), Counts::default());
}

#[test]
fn old_failures_leave_a_time_window_and_stay_in_a_count_window() {
    let mut settings = settings();
    for (window, opens) in [(BreakerWindow::Time, false), (BreakerWindow::Count, true)] {
        settings.window = window;
        let (mut machine, now) = machine(&settings);
        calls(&mut machine, Verdict::Failure, 3, now);
        calls(&mut machine, Verdict::Failure, 1, now + Duration::from_secs(11));
        assert_eq!(machine.state() == BreakerState::Open, opens, "{window:?}");
    }
}

#[test]
fn a_full_count_window_opens_below_the_minimum_of_calls() {
    let mut settings = settings();
    (settings.window, settings.window_calls, settings.minimum_calls) = (BreakerWindow::Count, 3, 20);
    let (mut machine, now) = machine(&settings);
    calls(&mut machine, Verdict::Failure, 2, now);
    assert_eq!(machine.state(), BreakerState::Closed);
    calls(&mut machine, Verdict::Failure, 1, now);
    assert_eq!(machine.state(), BreakerState::Open);
}

#[test]
fn slow_calls_open_it_though_they_succeed() {
    let mut settings = settings();
    settings.slow_call = Some(Written::from_secs(1));
    for (took, opens) in [(999, false), (1000, true)] {
        let (mut machine, now) = machine(&settings);
        for _ in 0..4 {
            let ticket = admitted(&mut machine, now);
            machine.record(ticket, Verdict::Success, Duration::from_millis(took), now);
        }
        assert_eq!(machine.state() == BreakerState::Open, opens, "{took} ms");
    }
}

#[test]
fn open_it_refuses_until_its_time_is_over_and_says_how_long() {
    let (mut machine, now) = machine(&settings());
    calls(&mut machine, Verdict::Failure, 4, now);
    let later = now + Duration::from_millis(4999);
    assert_eq!(machine.admit(later).0, Err(Duration::from_millis(1)));
    let (admitted, changed) = machine.admit(now + Duration::from_secs(5));
    assert!(admitted.is_ok());
    assert_eq!(changed.map(|changed| changed.to), Some(BreakerState::HalfOpen));
}

#[test]
fn half_open_only_the_probes_pass_and_their_success_closes_it() {
    let (mut machine, now) = half_open(&settings());
    let (first, second) = (admitted(&mut machine, now), admitted(&mut machine, now));
    assert_eq!(machine.admit(now).0, Err(PROBING));
    machine.record(first, Verdict::Success, Duration::ZERO, now);
    assert_eq!(machine.admit(now).0, Err(PROBING), "one success, one under way");
    machine.record(second, Verdict::Success, Duration::ZERO, now);
    assert_eq!(machine.state(), BreakerState::Closed);
}

#[test]
fn one_failed_probe_opens_it_again_for_the_whole_time() {
    let (mut machine, now) = half_open(&settings());
    let (first, second) = (admitted(&mut machine, now), admitted(&mut machine, now));
    machine.record(first, Verdict::Failure, Duration::ZERO, now);
    assert_eq!(machine.admit(now).0, Err(Duration::from_secs(5)));
    machine.record(second, Verdict::Success, Duration::ZERO, now);
    assert_eq!(machine.state(), BreakerState::Open, "a probe of an earlier state");
}

#[test]
fn a_probe_that_is_dropped_or_tells_nothing_gives_its_place_back() {
    let (mut machine, now) = half_open(&settings());
    let (first, second) = (admitted(&mut machine, now), admitted(&mut machine, now));
    machine.abandon(first, now);
    machine.record(second, Verdict::Ignored, Duration::ZERO, now);
    assert_eq!(machine.state(), BreakerState::HalfOpen);
    calls(&mut machine, Verdict::Success, 2, now);
    assert_eq!(machine.state(), BreakerState::Closed);
}

#[test]
fn probes_that_never_end_open_it_again() {
    let (mut machine, now) = half_open(&settings());
    let _held = (admitted(&mut machine, now), admitted(&mut machine, now));
    let late = now + Duration::from_secs(30);
    assert_eq!(machine.admit(late - Duration::from_millis(1)).0, Err(PROBING));
    assert_eq!(machine.admit(late).0, Err(Duration::from_secs(5)));
    assert_eq!(machine.state(), BreakerState::Open);
}

#[test]
fn a_call_from_before_it_opened_says_nothing_about_later() {
    let (mut machine, now) = machine(&settings());
    let early = admitted(&mut machine, now);
    calls(&mut machine, Verdict::Failure, 4, now);
    let later = now + Duration::from_secs(5);
    let probe = admitted(&mut machine, later);
    machine.record(early, Verdict::Failure, Duration::ZERO, later);
    assert_eq!(machine.state(), BreakerState::HalfOpen);
    machine.record(probe, Verdict::Success, Duration::ZERO, later);
    assert_eq!(machine.state(), BreakerState::HalfOpen);
}

#[test]
fn a_reload_keeps_the_state_and_the_window() {
    let (mut machine, now) = machine(&settings());
    calls(&mut machine, Verdict::Failure, 3, now);
    let mut other = settings();
    (other.window, other.window_calls) = (BreakerWindow::Count, 50);
    assert_eq!(machine.configure(Rules::from(&other), now), None);
    assert_eq!(machine.counts(now).failures, 3);
    calls(&mut machine, Verdict::Failure, 1, now);
    assert_eq!(machine.state(), BreakerState::Open);

    other.open_for = Written::from_secs(60);
    machine.configure(Rules::from(&other), now);
    assert_eq!(machine.admit(now).0, Err(Duration::from_secs(60)));
    assert_eq!(machine.opened(), 1);
}

#[test]
fn a_reload_to_fewer_probes_closes_what_they_have_proven() {
    let (mut machine, now) = half_open(&settings());
    calls(&mut machine, Verdict::Success, 1, now);
    let mut fewer = settings();
    fewer.probes = 1;
    let changed = machine.configure(Rules::from(&fewer), now);
    assert_eq!(changed.map(|changed| changed.to), Some(BreakerState::Closed));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Admit,
    End(usize, u8),
    Drop(usize),
    Wait(u64),
    Probes(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Admit),
        4 => (any::<usize>(), 0u8..3).prop_map(|(call, verdict)| Step::End(call, verdict)),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (0u64..8_000).prop_map(Step::Wait),
        1 => (1u32..5).prop_map(Step::Probes),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_an_open_breaker_lets_nothing_through_and_a_half_open_one_only_its_probes(
        steps in proptest::collection::vec(step(), 1..300), percent in 1u8..=100, count in any::<bool>(),
    ) {
        let mut settings = settings();
        settings.failure_rate = Ratio::from_percent(percent);
        settings.window = if count { BreakerWindow::Count } else { BreakerWindow::Time };
        let (mut machine, mut now) = machine(&settings);
        let mut out: Vec<Ticket> = Vec::new();
        for step in steps {
            match step {
                Step::Admit => {
                    let (before, age) = (machine.state(), machine.age(now));
                    let (admitted, _) = machine.admit(now);
                    if before == BreakerState::Open {
                        prop_assert_eq!(admitted.is_ok(), age >= settings.open_for.get());
                    }
                    if before == BreakerState::Closed {
                        prop_assert!(admitted.is_ok());
                    }
                    out.extend(admitted.ok());
                }
                Step::End(call, verdict) if !out.is_empty() => {
                    let ticket = out.swap_remove(call % out.len());
                    let verdict = [Verdict::Success, Verdict::Failure, Verdict::Ignored][usize::from(verdict)];
                    let (before, current) = (machine.state(), machine.is_current(ticket));
                    let changed = machine.record(ticket, verdict, Duration::ZERO, now);
                    if !current || verdict == Verdict::Ignored {
                        prop_assert_eq!(changed, None);
                    }
                    if current && before == BreakerState::HalfOpen && verdict == Verdict::Failure {
                        prop_assert_eq!(machine.state(), BreakerState::Open);
                    }
                }
                Step::Drop(call) if !out.is_empty() => {
                    let (before, counts) = (machine.state(), machine.counts(now));
                    machine.abandon(out.swap_remove(call % out.len()), now);
                    prop_assert_eq!((machine.state(), machine.counts(now)), (before, counts));
                }
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Probes(probes) => {
                    settings.probes = probes;
                    machine.configure(Rules::from(&settings), now);
                }
                Step::End(..) | Step::Drop(_) => {}
            }
            if let Phase::HalfOpen(probing) = &machine.phase {
                // What is under way was let through in this state, and every place is accounted for.
                let held = out.iter().filter(|ticket| machine.is_current(**ticket)).count();
                prop_assert_eq!(probing.under_way as usize, held);
                prop_assert!(probing.succeeded < settings.probes);
            }
        }
        // However it stands: once everything has ended, time and successes close it.
        for ticket in out {
            machine.abandon(ticket, now);
        }
        now += settings.open_for.get();
        for _ in 0..settings.probes {
            if machine.state() != BreakerState::Closed {
                calls(&mut machine, Verdict::Success, 1, now);
            }
        }
        prop_assert_eq!(machine.state(), BreakerState::Closed);
    }
}
