//! Who may have a connection of a node: so many at once as its pool may hold, and the others wait in line. Since when each
//! has been out is kept, so that a full pool says who holds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::line::{Line, Patience};

/// The connections of one node that are in use or being had.
#[derive(Debug)]
pub(crate) struct Checkouts {
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    /// By number of the ticket, one for each connection there may be.
    since: Vec<Option<Instant>>,
    line: Line<oneshot::Sender<Checkout>>,
    closed: bool,
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Checkout {
    number: usize,
    of: Arc<Checkouts>,
}

impl Checkouts {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let desk = Desk {
            since: vec![None; max],
            line: Line::default(),
            closed: false,
        };
        Arc::new(Self {
            desk: Mutex::new(desk),
        })
    }

    /// Waits for its turn; `None` when they are closed.
    ///
    /// Cancel-safe.
    pub(crate) async fn turn(self: &Arc<Self>, patience: Patience) -> Option<Checkout> {
        let (receiver, place) = {
            let mut desk = self.desk();
            if desk.closed {
                return None;
            }
            if let Some(number) = desk.since.iter().position(Option::is_none) {
                desk.since[number] = Some(Instant::now());
                let of = self.clone();
                return Some(Checkout { number, of });
            }
            let (sender, receiver) = oneshot::channel();
            (receiver, desk.line.join(patience, sender))
        };
        let place = Place { place, of: self };
        let served = receiver.await.ok();
        // Whoever was served is out of the line already.
        std::mem::forget(place);
        served
    }

    /// Nobody gets one any more, those who wait included.
    pub(crate) fn close(&self) {
        let mut desk = self.desk();
        desk.closed = true;
        desk.line = Line::default();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.desk().line.len()
    }

    /// How long the connection that has been out for longest has been.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.desk().since.iter().flatten().min().map(Instant::elapsed)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let next = {
            let mut desk = self.of.desk();
            let now = (!desk.line.is_empty()).then(Instant::now);
            let next = now.and_then(|now| desk.line.next(now));
            desk.since[self.number] = now.filter(|_| next.is_some());
            next
        };
        if let Some(next) = next {
            let (number, of) = (self.number, self.of.clone());
            // Whoever gave up in this instant drops it, and so passes it on.
            let _ = next.send(Checkout { number, of });
        }
    }
}

/// A place in the line, left when it is dropped.
struct Place<'a> {
    place: u64,
    of: &'a Checkouts,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.desk().line.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn patience(limit: Duration) -> Patience {
        let begun = Instant::now();
        Patience {
            begun,
            due: begun + limit,
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_longest_is_the_oldest_that_is_still_out() {
        let checkouts = Checkouts::new(2);
        assert_eq!(checkouts.longest(), None);
        let first = checkouts.turn(patience(LONG)).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = checkouts.turn(patience(LONG)).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(checkouts.longest(), Some(Duration::from_secs(3)));
        drop(first);
        assert_eq!(checkouts.longest(), Some(Duration::from_secs(1)));
        let third = checkouts.turn(patience(LONG)).await;
        drop((second, third));
        assert_eq!(checkouts.longest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_out_than_may_be_and_who_gave_up_holds_nobody_up() {
        let checkouts = Checkouts::new(1);
        let out = checkouts.turn(patience(LONG)).await.unwrap();
        let mut first = Box::pin(checkouts.turn(patience(LONG)));
        let mut second = Box::pin(checkouts.turn(patience(LONG)));
        let mut third = Box::pin(checkouts.turn(patience(LONG)));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        assert_eq!(checkouts.waiting(), 3);
        drop(first);
        assert_eq!(checkouts.waiting(), 2);
        drop(out);
        // Given to the second, which gives up before it looks.
        drop(second);
        let third = third.now_or_never().unwrap().unwrap();
        assert_eq!(
            (checkouts.waiting(), checkouts.longest()),
            (0, Some(Duration::ZERO))
        );
        drop(third);
        assert!(checkouts.turn(patience(LONG)).now_or_never().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_told_when_it_closes() {
        let checkouts = Checkouts::new(1);
        let _out = checkouts.turn(patience(LONG)).await.unwrap();
        let mut waiting = Box::pin(checkouts.turn(patience(LONG)));
        assert!((&mut waiting).now_or_never().is_none());
        checkouts.close();
        assert!(waiting.await.is_none());
        assert!(checkouts.turn(patience(LONG)).await.is_none());
    }
}
