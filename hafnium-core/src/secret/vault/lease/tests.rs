use proptest::prelude::*;

use super::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const FIRST: Behind = Behind {
    generation: 1,
    ends: None,
};

fn lent(now: Instant, ttl: u64) -> Lease {
    Lease::lent(now, secs(ttl), true, 1, Jitter::LATE)
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_asked_for_again_at_two_thirds_and_renewed() {
    let now = Instant::now();
    let lease = lent(now, 60);
    assert_eq!(lease.refresh_after(now, FIRST), Some(secs(40)));
    assert_eq!(lease.expires_after(now, FIRST), Some(secs(60)));
    assert_eq!(lease.step(now + secs(39), FIRST), LeaseStep::Keep);
    assert_eq!(lease.step(now + secs(40), FIRST), LeaseStep::Renew);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_grants_less_than_asked_means_another_credential_while_the_old_one_works() {
    let now = Instant::now();
    let mut lease = lent(now, 60);
    lease.renewed(now + secs(40), secs(59), true, Jitter::LATE);
    assert_eq!(lease.step(now + secs(40), FIRST), LeaseStep::Replace);
    assert!(lease.works(now + secs(90)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_kept_until_two_thirds_and_then_replaced() {
    let now = Instant::now();
    let mut lease = lent(now, 60);
    lease.not_renewable();
    assert_eq!(lease.step(now + secs(39), FIRST), LeaseStep::Keep);
    assert_eq!(lease.step(now + secs(40), FIRST), LeaseStep::Replace);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_with_the_token_that_took_it() {
    let now = Instant::now();
    let lease = lent(now, 3600);
    let soon = Behind {
        ends: Some(now + secs(60)),
        ..FIRST
    };
    assert_eq!(lease.refresh_after(now, soon), Some(secs(20)));
    assert_eq!(lease.expires_after(now, soon), Some(secs(60)));
    let another = Behind {
        generation: 2,
        ends: None,
    };
    assert_eq!(lease.step(now, another), LeaseStep::Replace);
}

proptest! {
    /// Asked when it wishes to be, a lease is renewed or replaced before the server ends it, whatever its life, its
    /// longest life and the life of the token.
    #[test]
    fn a_login_never_ends_before_another_is_there(
        ttl in 4u64..4000,
        longest in 1u64..20_000,
        token in 4u64..20_000,
        delay in 0u64..200,
        jitter in 0f64..1.0,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let jitter = Jitter::new(jitter);
            let (first, token) = (ttl.min(longest.max(4)), secs(token));
            let zero = Instant::now();
            let behind = Behind { generation: 1, ends: Some(zero + token) };
            let last = zero + secs(longest.max(4));
            let mut until = zero + secs(first);
            let mut lease = Lease::lent(zero, secs(first), true, 1, jitter);
            let mut now = zero;
            for _ in 0..20_000 {
                now += lease.refresh_after(now, behind).unwrap() + Duration::from_millis(delay);
                // The token is replaced at two thirds of its life, and from then on every lease of it.
                let replaced = now >= zero + token.mul_f64(2.0 / 3.0);
                let behind = if replaced { Behind { generation: 2, ends: None } } else { behind };
                assert!(now < until.min(zero + token), "over before it was asked for");
                match lease.step(now, behind) {
                    LeaseStep::Replace => return,
                    LeaseStep::Keep => continue,
                    LeaseStep::Renew => {}
                }
                until = (now + secs(first)).min(last);
                let left = (until - now).as_millis().div_ceil(1000) as u64;
                lease.renewed(now, secs(left), true, jitter);
                if lease.step(now, behind) == LeaseStep::Replace {
                    return;
                }
            }
            panic!("renewed for ever");
        });
    }
}
