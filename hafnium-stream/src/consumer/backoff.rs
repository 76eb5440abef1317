//! The pause before the next attempt.

use std::time::Duration;

/// Full jitter: drawn between zero and a bound that doubles with each attempt. `draw` is in 0..1.
pub(crate) fn pause(first: Duration, most: Duration, attempt: u32, draw: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let bound = first.saturating_mul(1 << doublings).min(most);
    bound.mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_never_exceeds_its_bounds(attempt in 1..u32::MAX, draw in 0.0..1.0f64) {
            let (first, most) = (Duration::from_millis(100), Duration::from_secs(10));
            prop_assert!(pause(first, most, attempt, draw) <= most);
            prop_assert!(pause(first, most, 1, draw) <= first);
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let bound =
            |attempt| pause(Duration::from_millis(100), Duration::from_secs(1), attempt, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 6].map(bound), [100, 200, 400, 800, 1000, 1000]);
    }
}
