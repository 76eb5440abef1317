use proptest::prelude::*;

use super::*;

const LATE: Jitter = Jitter::LATE;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn grant(ttl: u64) -> Grant {
    Grant {
        ttl: secs(ttl),
        asked: secs(ttl),
        renewable: true,
    }
}

fn held(now: Instant, ttl: u64) -> Schedule {
    let mut schedule = Schedule::default();
    schedule.logged_in(now, grant(ttl), LATE);
    schedule
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_at_two_thirds_of_its_life() {
    let now = Instant::now();
    let schedule = held(now, 60);
    assert_eq!(schedule.step(now), Step::Wait(Some(now + secs(40))));
    assert_eq!(schedule.step(now + secs(40)), Step::Renew);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_grants_less_than_asked_leads_to_a_login_at_once() {
    let now = Instant::now();
    let mut schedule = held(now, 60);
    schedule.renewed(
        now + secs(40),
        Grant {
            ttl: secs(59),
            ..grant(60)
        },
        LATE,
    );
    assert_eq!(schedule.step(now + secs(40)), Step::LogIn);
    assert!(
        schedule.usable(now + secs(90)).is_some(),
        "the old one works meanwhile"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_replaced_before_its_end() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.logged_in(
        now,
        Grant {
            renewable: false,
            ..grant(60)
        },
        LATE,
    );
    assert_eq!(schedule.step(now + secs(40)), Step::LogIn);
    let mut refused = held(now, 60);
    refused.failed(Step::Renew, now + secs(40), Setback::Refused, LATE);
    assert_eq!(refused.step(now + secs(40)), Step::LogIn);
}

#[tokio::test(start_paused = true)]
async fn a_periodic_token_is_renewed_for_ever_and_a_root_token_never() {
    let now = Instant::now();
    let mut schedule = held(now, 10);
    for round in 0..1000 {
        let at = now + secs(round * 6);
        schedule.renewed(at, grant(10), LATE);
        assert_eq!(schedule.step(at + secs(6)), Step::Renew);
    }
    let mut root = Schedule::default();
    root.logged_in(
        now,
        Grant {
            ttl: Duration::ZERO,
            asked: Duration::ZERO,
            renewable: false,
        },
        LATE,
    );
    assert_eq!(root.step(now + secs(1_000_000)), Step::Wait(None));
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_the_token_and_backs_off() {
    let now = Instant::now();
    let mut schedule = held(now, 60);
    let at = now + secs(40);
    schedule.failed(Step::Renew, at, Setback::Outage(None), LATE);
    assert!(schedule.usable(at).is_some());
    assert!(matches!(schedule.step(at), Step::Wait(Some(until)) if until > at));
    assert_eq!(schedule.step(at + secs(1)), Step::Renew);
    schedule.failed(Step::Renew, at, Setback::Outage(Some(secs(5))), LATE);
    assert_eq!(schedule.step(at), Step::Wait(Some(at + secs(5))));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_known_leads_to_one_login_however_many_noticed() {
    let now = Instant::now();
    let mut schedule = held(now, 60);
    let at = now + secs(10);
    schedule.invalid(1, at);
    assert_eq!(schedule.step(at), Step::LogIn);
    schedule.logged_in(at, grant(60), LATE);
    schedule.invalid(1, at);
    assert!(
        matches!(schedule.step(at), Step::Wait(_)),
        "noticed with the token before"
    );
    assert_eq!(schedule.usable(at), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_right_after_its_login_leads_to_no_storm() {
    let now = Instant::now();
    let mut schedule = held(now, 60);
    schedule.invalid(1, now);
    assert_eq!(schedule.step(now), Step::Wait(Some(now + BETWEEN_LOGINS)));
}

#[tokio::test(start_paused = true)]
async fn a_given_token_without_a_successor_is_used_to_its_end() {
    let now = Instant::now();
    let mut schedule = held(now, 60);
    schedule.renewed(
        now + secs(40),
        Grant {
            ttl: secs(20),
            ..grant(60)
        },
        LATE,
    );
    schedule.nothing_newer(
        now + secs(40),
        Grant {
            ttl: secs(20),
            ..grant(60)
        },
        LATE,
    );
    assert_eq!(schedule.step(now + secs(50)), Step::Wait(Some(now + secs(60))));
    assert_eq!(schedule.step(now + secs(60)), Step::LogIn);
    schedule.superseded(now + secs(50));
    assert_eq!(schedule.step(now + secs(50)), Step::LogIn);
}

/// A server that caps tokens, answers late, and now and then not at all.
struct Server {
    ttl: u64,
    longest: u64,
    born: Duration,
    until: Duration,
}

impl Server {
    /// Vault rounds what is left up to whole seconds.
    fn renew(&mut self, now: Duration) -> Option<u64> {
        if now >= self.until {
            return None;
        }
        let end = self.born + secs(self.longest);
        self.until = (now + secs(self.ttl)).min(end);
        Some((self.until - now).as_millis().div_ceil(1000) as u64)
    }
}

proptest! {
    /// Whatever the lives, the delays and the jitter: while the server answers, there is always a token that works, it
    /// is never asked about in a hurry, and never more often than its life calls for.
    #[test]
    fn there_is_always_a_token_that_works(
        ttl in 4u64..4000,
        lives in 1u64..40,
        outages in proptest::collection::vec(any::<bool>(), 64),
        delay in 0u64..200,
        jitter in 0f64..1.0,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let zero = Instant::now();
            let jitter = Jitter::new(jitter);
            let mut schedule = Schedule::default();
            let mut server: Option<Server> = None;
            let (mut now, mut steps) = (zero, 0u64);
            let end = zero + secs(ttl * 50);
            while now < end {
                let at = now - zero;
                match schedule.step(now) {
                    Step::Wait(Some(until)) => {
                        assert!(until > now);
                        let works = server.as_ref().unwrap().until;
                        assert!(until - zero < works, "waits beyond the end of the token");
                        now = until;
                        continue;
                    }
                    Step::Wait(None) => unreachable!("the token ends"),
                    // One outage at a time, always shorter than what is left.
                    step if server.is_some() && outages[steps as usize % outages.len()] => {
                        schedule.failed(step, now, Setback::Outage(None), jitter);
                        now = match schedule.step(now) {
                            Step::Wait(Some(until)) => until,
                            _ => now,
                        };
                        let again = schedule.step(now);
                        schedule_answers(&mut schedule, &mut server, again, now - zero, now, ttl, lives, jitter);
                    }
                    step => schedule_answers(&mut schedule, &mut server, step, at, now, ttl, lives, jitter),
                }
                now += Duration::from_millis(delay);
                steps += 1;
                assert!(schedule.usable(now).is_some(), "no token at {:?}", now - zero);
                assert!(now - zero < server.as_ref().unwrap().until, "the token is over at the server");
            }
            // At least a third of each granted life passes between steps; a capped one adds a login.
            assert!(steps < 50 * 8, "{steps} steps in 50 lives");
        });
    }
}

#[allow(clippy::too_many_arguments, reason = "the state of a simulation")]
fn schedule_answers(
    schedule: &mut Schedule,
    server: &mut Option<Server>,
    step: Step,
    at: Duration,
    now: Instant,
    ttl: u64,
    lives: u64,
    jitter: Jitter,
) {
    match step {
        Step::LogIn => {
            *server = Some(Server {
                ttl,
                longest: ttl * lives,
                born: at,
                until: at + secs(ttl),
            });
            schedule.logged_in(now, grant(ttl), jitter);
        }
        Step::Renew => {
            let left = server.as_mut().unwrap().renew(at).expect("renewed after its end");
            schedule.renewed(
                now,
                Grant {
                    ttl: secs(left),
                    ..grant(ttl)
                },
                jitter,
            );
        }
        Step::Wait(_) => {}
    }
}
