//! The right to handle the records of one partition, from its assignment to its release.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// One assignment of one partition. Records carry it, so that a completion that comes after the partition was taken
/// away and given back is known to be late.
pub(crate) struct Lease {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// Counts assignments; later ones are greater.
    pub(crate) generation: u64,
    /// Cancelled when the partition can wait no longer: handlers are dropped at their next await.
    pub(crate) cut: CancellationToken,
    begun: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    /// The highest offset whose handling began.
    highest: Option<i64>,
    surrendered: bool,
}

impl Lease {
    pub(crate) fn new(topic: Arc<str>, partition: i32, generation: u64) -> Self {
        Self {
            topic,
            partition,
            generation,
            cut: CancellationToken::new(),
            begun: Mutex::default(),
        }
    }

    /// Whether handling of the record at `offset` may begin.
    ///
    /// After [`surrender`](Self::surrender) only records below the highest one that began do: they are gaps below
    /// finished work, and handing them back would make that work be repeated.
    pub(crate) fn begin(&self, offset: i64) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.surrendered {
            return begun.highest.is_some_and(|highest| offset <= highest);
        }
        begun.highest = begun.highest.max(Some(offset));
        true
    }

    /// Lets nothing new begin; returns the offset up to which records are still finished here, `-1` for none.
    pub(crate) fn surrender(&self) -> i64 {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.surrendered = true;
        begun.highest.unwrap_or(-1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrendered_lease_finishes_the_gaps_below_what_began_and_nothing_more() {
        let lease = Lease::new("t".into(), 0, 1);
        assert!(lease.begin(7));
        assert!(lease.begin(5));
        assert_eq!(lease.surrender(), 7);
        assert!(lease.begin(6));
        assert!(!lease.begin(8));
        assert_eq!(lease.surrender(), 7);
        let untouched = Lease::new("t".into(), 0, 2);
        assert_eq!(untouched.surrender(), -1);
        assert!(!untouched.begin(0));
    }
}
