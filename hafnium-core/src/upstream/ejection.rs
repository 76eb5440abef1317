//! Whether one address gets requests: a pure state machine with the time passed in.
//!
//! * **in** – it gets requests; so many failures in a row ask for its ejection, any success forgets them;
//! * **out** – it gets nothing until its time is over;
//! * **on trial** – one request at a time; a success takes it in, a failure puts it out for twice as long.
//!
//! How many may be out at a time is not decided here: [`Standing::failed`] asks, [`Standing::eject`] does.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::EjectionSettings;

/// The settings as they are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) failures: u32,
    pub(super) time: Duration,
    pub(super) max_time: Duration,
    max_share: f64,
}

impl From<&EjectionSettings> for Rules {
    fn from(settings: &EjectionSettings) -> Self {
        Self {
            failures: settings.failures.max(1),
            time: settings.time.get(),
            max_time: settings.max_time.get(),
            max_share: settings.max_share.get(),
        }
    }
}

impl Rules {
    /// How many of `addresses` may be out at a time; never all of them.
    pub(super) fn most_out(&self, addresses: usize) -> usize {
        // A share of a count of addresses: small, and rounded down on purpose.
        let share = (addresses as f64 * self.max_share) as usize;
        share.min(addresses.saturating_sub(1))
    }
}

/// What an address is to the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may have it.
    In,
    /// It may have it, and is judged by it: [`Standing::begin_trial`].
    Trial,
    /// It gets nothing.
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    In,
    Out { until: Instant },
    OnTrial,
}

#[derive(Debug)]
pub(super) struct Standing {
    state: State,
    /// Failures in a row while in.
    failures: u32,
    /// Ejections that the next one adds to.
    ejections: u32,
    /// When it came in again.
    returned: Option<Instant>,
    /// How long the last ejection was.
    last: Duration,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            state: State::In,
            failures: 0,
            ejections: 0,
            returned: None,
            last: Duration::ZERO,
        }
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.state {
            State::In => Admission::In,
            State::Out { until } if now >= until => Admission::Trial,
            State::Out { .. } | State::OnTrial => Admission::Out,
        }
    }

    /// Whether it counts as ejected.
    pub(super) fn is_out(&self) -> bool {
        self.state != State::In
    }

    /// How long it is still out, zero for what is due for a trial or on one.
    pub(super) fn out_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::In => None,
            State::Out { until } => Some(until.saturating_duration_since(now)),
            State::OnTrial => Some(Duration::ZERO),
        }
    }

    /// The next request is the trial. False if another one was faster.
    pub(super) fn begin_trial(&mut self, now: Instant) -> bool {
        let due = self.admission(now) == Admission::Trial;
        if due {
            self.state = State::OnTrial;
        }
        due
    }

    /// The trial ended without telling anything, such as by being cancelled: the next request is one.
    pub(super) fn abandon_trial(&mut self, now: Instant) {
        if self.state == State::OnTrial {
            self.state = State::Out { until: now };
        }
    }

    /// A request succeeded. True if that took the address in again.
    pub(super) fn succeeded(&mut self, now: Instant) -> bool {
        self.failures = 0;
        match self.state {
            State::In => {
                // As long in as it was out: what was is forgotten.
                if self.returned.is_some_and(|at| now >= at + self.last) {
                    self.returned = None;
                    self.ejections = 0;
                }
                false
            }
            // What was sent before the ejection may still succeed; that ends no ejection.
            State::Out { .. } => false,
            State::OnTrial => {
                self.come_in(now);
                true
            }
        }
    }

    /// A request failed. True if the address is to be ejected, which the caller does if not too many are out.
    pub(super) fn failed(&mut self, now: Instant, rules: &Rules) -> bool {
        match self.state {
            State::In => {
                self.failures = self.failures.saturating_add(1);
                self.failures >= rules.failures
            }
            State::Out { .. } => false,
            State::OnTrial => {
                self.eject(now, rules);
                false
            }
        }
    }

    /// Puts it out. Returns for how long.
    pub(super) fn eject(&mut self, now: Instant, rules: &Rules) -> Duration {
        let doublings = self.ejections.min(31);
        self.ejections = self.ejections.saturating_add(1);
        self.last = rules.time.saturating_mul(1 << doublings).min(rules.max_time);
        self.failures = 0;
        self.returned = None;
        self.state = State::Out {
            until: now + self.last,
        };
        self.last
    }

    /// Takes it in whatever its state is: too many are out.
    pub(super) fn come_in(&mut self, now: Instant) {
        self.state = State::In;
        self.failures = 0;
        self.returned = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> Rules {
        Rules::from(&EjectionSettings::default())
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (now, rules, mut standing) = (Instant::now(), rules(), Standing::new());
        for _ in 0..4 {
            assert!(!standing.failed(now, &rules));
        }
        standing.succeeded(now);
        for _ in 0..4 {
            assert!(!standing.failed(now, &rules));
        }
        assert!(standing.failed(now, &rules));
        assert_eq!(
            standing.admission(now),
            Admission::In,
            "it is asked for, not done"
        );
        assert_eq!(standing.eject(now, &rules), seconds(5));
        assert_eq!(standing.admission(now + seconds(4)), Admission::Out);
    }

    #[test]
    fn one_request_is_the_trial_and_a_failed_one_doubles_the_time() {
        let (now, rules, mut standing) = (Instant::now(), rules(), Standing::new());
        let mut due = now;
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            match due == now {
                true => drop(standing.eject(due, &rules)),
                false => {
                    assert!(standing.begin_trial(due));
                    assert!(!standing.begin_trial(due), "one at a time");
                    assert_eq!(standing.admission(due), Admission::Out);
                    standing.failed(due, &rules);
                }
            }
            assert_eq!(standing.out_for(due), Some(seconds(expected)));
            due += seconds(expected);
        }
        assert!(standing.begin_trial(due));
        assert!(standing.succeeded(due));
        assert_eq!(standing.admission(due), Admission::In);
        // It was out for 300 s; before it was in for as long, the past counts.
        standing.succeeded(due + seconds(299));
        assert_eq!(standing.eject(due + seconds(299), &rules), seconds(300));
        let back = due + seconds(700);
        assert!(standing.begin_trial(back) && standing.succeeded(back));
        standing.succeeded(back + seconds(300));
        assert_eq!(standing.eject(back + seconds(300), &rules), seconds(5));
    }

    #[test]
    fn a_trial_that_is_cancelled_gives_its_place_to_the_next_request() {
        let (now, rules, mut standing) = (Instant::now(), rules(), Standing::new());
        standing.eject(now, &rules);
        let due = now + seconds(5);
        assert!(standing.begin_trial(due));
        standing.abandon_trial(due);
        assert!(standing.begin_trial(due));
    }

    #[test]
    fn never_more_than_half_and_never_the_only_one() {
        let most: Vec<usize> = (0..=6).map(|addresses| rules().most_out(addresses)).collect();
        assert_eq!(most, [0, 0, 1, 1, 2, 2, 3]);
        let settings = EjectionSettings {
            max_share: crate::config::Ratio::from_percent(100),
            ..EjectionSettings::default()
        };
        assert_eq!(Rules::from(&settings).most_out(3), 2);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Fail,
        Succeed,
        Begin,
        Abandon,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Fail),
            2 => Just(Step::Succeed),
            2 => Just(Step::Begin),
            1 => Just(Step::Abandon),
            2 => (1u64..400).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn an_address_is_never_out_for_longer_than_the_longest_ejection(
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let (mut now, rules, mut standing) = (Instant::now(), rules(), Standing::new());
            for step in steps {
                match step {
                    Step::Fail => if standing.failed(now, &rules) { standing.eject(now, &rules); },
                    Step::Succeed => drop(standing.succeeded(now)),
                    Step::Begin => drop(standing.begin_trial(now)),
                    Step::Abandon => standing.abandon_trial(now),
                    Step::Wait(waited) => now += seconds(waited),
                }
                prop_assert!(standing.out_for(now).is_none_or(|left| left <= rules.max_time));
                prop_assert_eq!(standing.out_for(now).is_some(), standing.is_out());
            }
            // However it got there: after the longest ejection one success takes it in.
            standing.abandon_trial(now);
            let later = now + rules.max_time;
            if standing.is_out() {
                prop_assert!(standing.begin_trial(later) && standing.succeeded(later));
            }
            prop_assert_eq!(standing.admission(later), Admission::In);
        }
    }
}
