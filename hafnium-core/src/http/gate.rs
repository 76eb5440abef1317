//! How many handlers run at a time, and how long others wait for their turn: what is shed is answered at once.
//!
//! The way of a request that finds room is two atomic operations; only those that wait touch more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// How many may run, and how many more may wait; 0 for any number.
    pub(crate) places: u32,
    /// How long one may wait.
    pub(crate) wait: Duration,
}

impl Room {
    /// Whether there is a place beside so many that run.
    fn holds(self, running: u32) -> bool {
        self.places == 0 || running < self.places
    }
}

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// As many wait as may.
    QueueFull,
    /// Its turn did not come in time.
    WaitedTooLong,
}

impl Shed {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::QueueFull => "overloaded.queue_full",
            Self::WaitedTooLong => "overloaded.queue_time",
        }
    }
}

/// The number of running and waiting requests.
#[derive(Debug)]
pub(crate) struct Gate {
    /// [`Counts`], both in one word: who takes a place sees in the same moment whether somebody waits for it, and who
    /// leaves one, whether somebody is to be told.
    counts: AtomicU64,
    /// Milliseconds after `begun` at which the queue began to stand; 0 while nobody waits.
    standing_since: AtomicU64,
    begun: Instant,
    left: Notify,
}

/// How many run and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    running: u32,
    waiting: u32,
}

impl Counts {
    const ONE_RUNS: u64 = 1;
    const ONE_WAITS: u64 = 1 << 32;

    fn of(word: u64) -> Self {
        Self {
            running: word as u32,
            waiting: (word >> 32) as u32,
        }
    }
}

/// What holds a gate, so that a place in it needs no reference of its own: counting those of all requests would be one
/// more thing that all processors write to.
pub(crate) trait Gated {
    fn gate(&self) -> &Gate;
}

/// A place among the running; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass<G: Gated>(G);

impl<G: Gated> Pass<G> {
    /// What holds the gate.
    pub(crate) fn keeper(&self) -> &G {
        &self.0
    }
}

impl<G: Gated> Drop for Pass<G> {
    fn drop(&mut self) {
        let gate = self.0.gate();
        let before = gate.counts.fetch_sub(Counts::ONE_RUNS, Ordering::AcqRel);
        if Counts::of(before).waiting > 0 {
            gate.left.notify_one();
        }
    }
}

/// A place in the queue; given back when dropped, also by a client that goes away.
struct Waiting<'a> {
    gate: &'a Gate,
    passed: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let before = self.gate.counts.fetch_sub(Counts::ONE_WAITS, Ordering::AcqRel);
        if Counts::of(before).waiting == 1 {
            self.gate.standing_since.store(0, Ordering::Relaxed);
        }
        // A wake-up that came to one who gives up is passed on.
        if !self.passed {
            self.gate.left.notify_one();
        }
    }
}

impl Gate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            counts: AtomicU64::new(0),
            standing_since: AtomicU64::new(0),
            begun: now,
            left: Notify::new(),
        }
    }

    #[cfg(test)]
    fn counts(&self) -> Counts {
        Counts::of(self.counts.load(Ordering::Acquire))
    }

    /// Counts one more that runs, where `may` says so.
    fn enter(&self, may: impl Fn(Counts) -> bool) -> bool {
        let more = |word| may(Counts::of(word)).then_some(word + Counts::ONE_RUNS);
        self.counts
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    /// A place in the gate of `keeper` at once, where there is one and nobody waits for it: who comes later does not go
    /// first.
    pub(crate) fn pass<G: Gated>(keeper: G, room: Room) -> Result<Pass<G>, G> {
        let may = |counts: Counts| counts.waiting == 0 && room.holds(counts.running);
        match keeper.gate().enter(may) {
            true => Ok(Pass(keeper)),
            false => Err(keeper),
        }
    }

    /// Waits for a place, in the order of arrival.
    ///
    /// Cancel-safety: dropping it gives up the place in the queue.
    pub(crate) async fn queue<G: Gated>(keeper: G, room: Room) -> Result<Pass<G>, Shed> {
        keeper.gate().wait(room).await?;
        Ok(Pass(keeper))
    }

    async fn wait(&self, room: Room) -> Result<(), Shed> {
        let begun = Instant::now();
        let before = self.counts.fetch_add(Counts::ONE_WAITS, Ordering::AcqRel);
        let ahead = Counts::of(before).waiting;
        let mut waiting = Waiting {
            gate: self,
            passed: false,
        };
        if ahead >= room.places.max(1) {
            // No wake-up can have come to it: one passed on would send the first of those who wait to the end.
            waiting.passed = true;
            return Err(Shed::QueueFull);
        }
        let elapsed = self.elapsed(begun);
        let _ = self
            .standing_since
            .compare_exchange(0, elapsed, Ordering::Relaxed, Ordering::Relaxed);
        let until = begun + patience(room.wait, elapsed, self.standing_since.load(Ordering::Relaxed));
        let turn = async {
            // A place that comes free is for who waits already. Being told of it can't be missed: `Notify` keeps it.
            if ahead > 0 {
                self.left.notified().await;
            }
            while !self.enter(|counts| room.holds(counts.running)) {
                self.left.notified().await;
            }
        };
        let turn = tokio::time::timeout_at(until, turn).await;
        waiting.passed = turn.is_ok();
        turn.map_err(|_| Shed::WaitedTooLong)
    }

    fn elapsed(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).max(1)
    }
}

/// How long one may wait that joins the queue at `now`, which stands `since`: a queue that was not empty for as long as
/// one may wait is no burst any more.
fn patience(wait: Duration, now: u64, since: u64) -> Duration {
    let standing = Duration::from_millis(now.saturating_sub(since));
    if since > 0 && standing > wait {
        wait / 10
    } else {
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    impl Gated for Arc<Gate> {
        fn gate(&self) -> &Gate {
            self
        }
    }

    fn new() -> Arc<Gate> {
        Arc::new(Gate::new(Instant::now()))
    }

    const ROOM: Room = Room {
        places: 2,
        wait: Duration::from_millis(500),
    };

    async fn enter(gate: &Arc<Gate>) -> Result<Pass<Arc<Gate>>, Shed> {
        match Gate::pass(gate.clone(), ROOM) {
            Ok(pass) => Ok(pass),
            Err(gate) => Gate::queue(gate, ROOM).await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_in_order_and_is_shed_after_the_wait() {
        let gate = new();
        let (first, second) = (enter(&gate).await.unwrap(), enter(&gate).await.unwrap());
        let begun = Instant::now();
        assert_eq!(enter(&gate).await.unwrap_err(), Shed::WaitedTooLong);
        assert_eq!(begun.elapsed(), ROOM.wait);

        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { enter(&gate).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waits.is_finished());
        drop(first);
        let third = waits.await.unwrap().unwrap();
        assert!(Gate::pass(gate.clone(), ROOM).is_err());
        drop((second, third));
        assert!(Gate::pass(gate.clone(), ROOM).is_ok());
        assert_eq!(gate.counts().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_sheds_at_once_and_who_gives_up_leaves_it() {
        let gate = new();
        let _running = (enter(&gate).await.unwrap(), enter(&gate).await.unwrap());
        let queue = || {
            let gate = gate.clone();
            tokio::spawn(async move { enter(&gate).await })
        };
        let waiting = [queue(), queue()];
        tokio::task::yield_now().await;
        let begun = Instant::now();
        assert_eq!(enter(&gate).await.unwrap_err(), Shed::QueueFull);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        assert_eq!(enter(&gate).await.unwrap_err(), Shed::WaitedTooLong);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_shed_changes_nothing_in_the_order_of_those_who_wait() {
        let gate = new();
        let (running, _running) = (enter(&gate).await.unwrap(), enter(&gate).await.unwrap());
        let queue = || {
            let gate = gate.clone();
            tokio::spawn(async move { enter(&gate).await })
        };
        let (first, second) = (queue(), queue());
        tokio::task::yield_now().await;
        assert_eq!(enter(&gate).await.unwrap_err(), Shed::QueueFull);
        tokio::task::yield_now().await;
        drop(running);
        let _passed = first.await.unwrap().expect("it came first");
        assert_eq!(second.await.unwrap().unwrap_err(), Shed::WaitedTooLong);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_that_came_to_one_who_gave_up_is_not_lost() {
        let gate = new();
        let (first, _second) = (enter(&gate).await.unwrap(), enter(&gate).await.unwrap());
        let queue = || {
            let gate = gate.clone();
            tokio::spawn(async move { enter(&gate).await })
        };
        let (gives_up, stays) = (queue(), queue());
        tokio::task::yield_now().await;
        drop(first);
        gives_up.abort();
        assert!(stays.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_queue_that_stands_one_waits_only_a_tenth() {
        let wait = ROOM.wait;
        assert_eq!(patience(wait, 600, 200), wait, "a burst");
        assert_eq!(patience(wait, 701, 200), wait / 10, "it stands");
        assert_eq!(patience(wait, 9000, 0), wait, "it was empty");
    }

    #[tokio::test(start_paused = true)]
    async fn zero_places_are_any_number() {
        let gate = new();
        let room = Room { places: 0, ..ROOM };
        let passes: Vec<_> = (0..5000).map(|_| Gate::pass(gate.clone(), room)).collect();
        assert!(passes.iter().all(Result::is_ok));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn under_contention_no_more_run_than_may_and_nobody_is_forgotten() {
        let gate = new();
        let room = Room {
            places: 8,
            wait: Duration::from_secs(60),
        };
        let most = Arc::new(AtomicU32::new(0));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (gate, most) = (gate.clone(), most.clone());
            all.spawn(async move {
                for _ in 0..200 {
                    let pass = match Gate::pass(gate.clone(), room) {
                        Ok(pass) => pass,
                        Err(gate) => Gate::queue(gate, room).await.unwrap(),
                    };
                    most.fetch_max(gate.counts().running, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    drop(pass);
                }
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 8);
        assert_eq!(
            gate.counts(),
            Counts {
                running: 0,
                waiting: 0
            }
        );
    }
}
