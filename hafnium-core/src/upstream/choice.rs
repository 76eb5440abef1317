//! Which of several addresses gets a request: the less busy one of two drawn at random.
//!
//! Always the least busy one of all would send every client to the same address at the same moment.

/// The index of the less busy of two different candidates drawn with `random`, which gives a number below its argument.
pub(super) fn less_busy_of_two(busy: &[usize], mut random: impl FnMut(usize) -> usize) -> Option<usize> {
    match busy.len() {
        0 => None,
        1 => Some(0),
        count => {
            let one = random(count);
            let other = (one + 1 + random(count - 1)) % count;
            let (one_is, other_is) = (busy.get(one)?, busy.get(other)?);
            Some(if other_is < one_is { other } else { one })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_busiest_of_several_is_never_chosen_when_it_is_the_only_busiest(
            busy in proptest::collection::vec(0usize..10, 2..8), seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let chosen = less_busy_of_two(&busy, |below| random.usize(..below)).unwrap();
            let most = *busy.iter().max().unwrap();
            if busy.iter().filter(|one| **one == most).count() == 1 {
                prop_assert!(busy[chosen] < most);
            }
        }

        #[test]
        fn every_candidate_can_be_chosen_when_all_are_equally_busy(count in 1usize..6) {
            let busy = vec![1; count];
            let mut random = fastrand::Rng::with_seed(7);
            let mut seen = vec![false; count];
            for _ in 0..500 {
                seen[less_busy_of_two(&busy, |below| random.usize(..below)).unwrap()] = true;
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
