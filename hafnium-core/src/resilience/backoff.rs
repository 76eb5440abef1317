//! How long to wait before the next attempt.

use std::time::Duration;

/// Full jitter: anything between zero and `first` doubled with each attempt, at most `most`. `attempt` counts from 1
/// (the attempt that just failed), `random` is in `0..1`.
pub fn full_jitter(first: Duration, most: Duration, attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let bound = first.saturating_mul(1 << doublings).min(most);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_never_exceeds_its_doubled_bound_or_the_longest(
            first in 0u64..10_000, most in 0u64..100_000, attempt in 0u32..100, random in 0.0f64..1.0,
        ) {
            let (first, most) = (Duration::from_millis(first), Duration::from_millis(most));
            let pause = full_jitter(first, most, attempt, random);
            prop_assert!(pause <= most);
            if attempt <= 1 {
                prop_assert!(pause <= first);
            }
        }
    }

    #[test]
    fn the_bound_doubles_until_the_longest() {
        let pause = |attempt| full_jitter(Duration::from_millis(50), Duration::from_secs(1), attempt, 1.0);
        let bounds: Vec<u128> = (1..=7).map(|attempt| pause(attempt).as_millis()).collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
