//! Since when each connection of a node has been out: a full pool says who holds it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The connections of one node that are in use.
#[derive(Debug, Default)]
pub(crate) struct Checkouts {
    /// By number of the ticket; as long as most connections ever were in use at once.
    since: Mutex<Vec<Option<Instant>>>,
}

/// One connection in use, until it is dropped.
#[derive(Debug)]
pub(crate) struct Checkout {
    number: usize,
    of: Arc<Checkouts>,
}

impl Checkouts {
    pub(crate) fn begin(self: &Arc<Self>) -> Checkout {
        let now = Instant::now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let free = since.iter().position(Option::is_none);
        let number = free.unwrap_or(since.len());
        match free {
            Some(free) => since[free] = Some(now),
            None => since.push(Some(now)),
        }
        Checkout {
            number,
            of: self.clone(),
        }
    }

    /// How long the connection that has been out for longest has been.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.iter().flatten().min().map(Instant::elapsed)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let mut since = self.of.since.lock().unwrap_or_else(PoisonError::into_inner);
        since[self.number] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_is_the_oldest_that_is_still_out() {
        let checkouts = Arc::new(Checkouts::default());
        assert_eq!(checkouts.longest(), None);
        let first = checkouts.begin();
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = checkouts.begin();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(checkouts.longest(), Some(Duration::from_secs(3)));
        drop(first);
        assert_eq!(checkouts.longest(), Some(Duration::from_secs(1)));
        let third = checkouts.begin();
        drop((second, third));
        assert_eq!(checkouts.longest(), None);
        assert_eq!(checkouts.since.lock().unwrap().len(), 2, "numbers are used again");
    }
}
