//! Silences between arrivals, and how long a fault was felt.

use std::time::{Duration, Instant};

/// The longest time between two arrivals of `at` (in order) that ended within `from..=until`.
pub(crate) fn longest(at: &[Instant], from: Instant, until: Instant) -> Duration {
    let pairs = at.iter().zip(at.iter().skip(1));
    let within = pairs.filter(|(_, next)| (from..=until).contains(*next));
    within
        .map(|(previous, next)| next.duration_since(*previous))
        .max()
        .unwrap_or_default()
}

/// From `fault` to the end of the longest silence that ended within `from fault ..= until`: when results flow again.
pub(crate) fn recovery(at: &[Instant], fault: Instant, until: Instant) -> Option<Duration> {
    let pairs = at.iter().zip(at.iter().skip(1));
    let after = pairs.filter(|(_, next)| (fault..=until).contains(*next));
    let end = after
        .max_by_key(|(previous, next)| next.duration_since(**previous))
        .map(|(_, next)| *next)?;
    Some(end.duration_since(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_measured_to_the_arrival_that_ends_it() {
        let zero = Instant::now();
        let at: Vec<_> = [0, 10, 20, 520, 530]
            .iter()
            .map(|ms| zero + Duration::from_millis(*ms))
            .collect();
        let until = zero + Duration::from_secs(9);
        assert_eq!(longest(&at, zero, until), Duration::from_millis(500));
        let fault = zero + Duration::from_millis(100);
        assert_eq!(recovery(&at, fault, until), Some(Duration::from_millis(420)));
        assert_eq!(recovery(&at, until, until), None);
    }
}
