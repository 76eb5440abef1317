//! The tokens of a retry budget: a pure state machine with the time passed in.
//!
//! Each request puts a share of a token in, each second a fixed number, each retry takes one out; never more than the
//! burst is held. So over any time the retries are at most `burst + share × requests + minimum × seconds`.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens are counted in millionths: no rounding piles up.
const TOKEN: u64 = 1_000_000;

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Allowance {
    /// Retries per request, 0 to 1.
    pub(crate) ratio: f64,
    /// Retries per second whatever the number of requests.
    pub(crate) minimum: u32,
    /// The most tokens held.
    pub(crate) burst: u32,
}

impl Allowance {
    fn most(&self) -> u64 {
        u64::from(self.burst) * TOKEN
    }
    fn share(&self) -> u64 {
        (self.ratio.clamp(0.0, 1.0) * TOKEN as f64).round() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Bucket {
    allowance: Allowance,
    share: u64,
    held: u64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket: a service that has just started may retry too.
    pub(crate) fn new(allowance: Allowance, now: Instant) -> Self {
        Self {
            allowance,
            share: allowance.share(),
            held: allowance.most(),
            filled: now,
        }
    }

    /// Other rules from `now` on. What is held stays, cut to the new burst.
    pub(crate) fn configure(&mut self, allowance: Allowance, now: Instant) {
        self.refill(now);
        self.allowance = allowance;
        self.share = allowance.share();
        self.held = self.held.min(allowance.most());
    }

    /// A request begins.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.refill(now);
        self.held = (self.held + self.share).min(self.allowance.most());
    }

    /// Takes a token for one retry, if there is one.
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.held.checked_sub(TOKEN) {
            Some(left) => {
                self.held = left;
                true
            }
            None => false,
        }
    }

    /// How many tokens are held.
    pub(crate) fn tokens(&self) -> f64 {
        self.held as f64 / TOKEN as f64
    }

    fn refill(&mut self, now: Instant) {
        let minimum = u64::from(self.allowance.minimum);
        let passed = now.saturating_duration_since(self.filled);
        // Below a microsecond nothing would come in; the time is kept for the next call.
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 {
            return;
        }
        self.filled += Duration::from_micros(micros);
        // A token is a million and a second is a million microseconds: the minimum is the rate as it is.
        self.held = self
            .held
            .saturating_add(minimum.saturating_mul(micros))
            .min(self.allowance.most());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Request,
        Retry,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Request),
            3 => Just(Step::Retry),
            1 => (0u64..3_000_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn retries_never_exceed_burst_and_share_of_requests_and_minimum_per_second(
            steps in proptest::collection::vec(step(), 1..300),
            percent in 0u8..=100, minimum in 0u32..20, burst in 0u32..50,
        ) {
            let begun = Instant::now();
            let ratio = f64::from(percent) / 100.0;
            let mut bucket = Bucket::new(Allowance { ratio, minimum, burst }, begun);
            let (mut now, mut requests, mut retries) = (begun, 0u32, 0u32);
            for step in steps {
                match step {
                    Step::Request => { bucket.deposit(now); requests += 1; }
                    Step::Retry => retries += u32::from(bucket.withdraw(now)),
                    Step::Wait(micros) => now += Duration::from_micros(micros),
                }
                let seconds = (now - begun).as_secs_f64();
                let most = f64::from(burst) + ratio * f64::from(requests) + f64::from(minimum) * seconds;
                prop_assert!(f64::from(retries) <= most + 1e-6, "{retries} of {most}");
                prop_assert!(bucket.tokens() <= f64::from(burst));
            }
        }
    }

    #[test]
    fn ten_requests_earn_one_retry_at_ten_percent() {
        let now = Instant::now();
        let mut bucket = Bucket::new(
            Allowance {
                ratio: 0.1,
                minimum: 0,
                burst: 2,
            },
            now,
        );
        assert!(bucket.withdraw(now) && bucket.withdraw(now) && !bucket.withdraw(now));
        for _ in 0..9 {
            bucket.deposit(now);
        }
        assert!(!bucket.withdraw(now));
        bucket.deposit(now);
        assert!(bucket.withdraw(now));
        assert!(!bucket.withdraw(now));
    }

    #[test]
    fn the_minimum_comes_in_with_time_alone() {
        let now = Instant::now();
        let mut bucket = Bucket::new(
            Allowance {
                ratio: 0.0,
                minimum: 2,
                burst: 4,
            },
            now,
        );
        while bucket.withdraw(now) {}
        let half = now + Duration::from_millis(500);
        assert!(bucket.withdraw(half) && !bucket.withdraw(half));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.withdraw(later)).count(), 4);
    }

    #[test]
    fn a_reload_keeps_what_is_held_up_to_the_new_burst() {
        let now = Instant::now();
        let mut bucket = Bucket::new(
            Allowance {
                ratio: 0.1,
                minimum: 0,
                burst: 10,
            },
            now,
        );
        assert!(bucket.withdraw(now));
        bucket.configure(
            Allowance {
                ratio: 0.1,
                minimum: 0,
                burst: 20,
            },
            now,
        );
        assert_eq!(bucket.tokens(), 9.0);
        bucket.configure(
            Allowance {
                ratio: 0.1,
                minimum: 0,
                burst: 3,
            },
            now,
        );
        assert_eq!(bucket.tokens(), 3.0);
    }
}
