//! What the openers of a node share: who waits for a login, what is there in spare, and how many may log in at once.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::line::Line;
use super::connection::{Connection, Spare};
use super::limit::Limit;
use super::login::LoginError;

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: Line<oneshot::Sender<Result<Connection, LoginError>>>,
    pub(super) spare: Vec<Spare>,
    /// Logins in flight.
    pub(super) opening: usize,
    /// Logins that are still to be begun without a caller.
    pub(super) ahead: usize,
    pub(super) limit: Limit,
    /// The server said that it has no room for more connections.
    pub(super) full: Option<Full>,
    /// Why the last login failed, if none worked since.
    pub(super) failed: Option<LoginError>,
}

/// Whom an opener was started for. After the pause of a full server a login for callers who gave up is not worth it; one
/// for spares is how it is found out that there is room again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Callers,
    Spares,
}

impl Queue {
    /// Takes note that one more login begins, if one is wanted and may; `room` is how many more connections there may be.
    pub(super) fn begin(&mut self, room: usize) -> Option<Purpose> {
        let most = if self.full.is_some() { 1 } else { self.limit.get() };
        if self.opening >= most {
            return None;
        }
        let purpose = if self.opening < self.waiting.len() {
            Purpose::Callers
        } else if self.ahead > 0 && self.opening < room {
            self.ahead -= 1;
            Purpose::Spares
        } else {
            return None;
        };
        self.opening += 1;
        Some(purpose)
    }

    /// Takes note that a login is no more in flight.
    pub(super) fn end(&mut self) {
        self.opening -= 1;
        if self.opening == 0 && self.waiting.is_empty() {
            self.limit.rested();
        }
    }

    /// Takes note of why a login failed, and returns those who have to be told: everyone, but of a login that timed out
    /// nobody. It says nothing of those in flight beside it, and of the node nothing that its probe does not find out
    /// sooner.
    pub(super) fn fail(
        &mut self,
        error: &LoginError,
    ) -> Vec<oneshot::Sender<Result<Connection, LoginError>>> {
        self.ahead = 0;
        self.full = error.is_full().then(|| Full::after(self.full.as_ref()));
        self.failed = Some(error.clone());
        if error.is_timeout() {
            self.limit.timed_out();
            return Vec::new();
        }
        self.waiting.take().collect()
    }

    /// A login worked.
    pub(super) fn succeed(&mut self) {
        self.limit.succeeded();
        (self.full, self.failed) = (None, None);
    }
}

/// How long a full server is left alone. The pool makes do with the connections that are open: who waits for a login
/// gets one that another gives back.
pub(super) struct Full {
    pub(super) until: Instant,
    pause: Duration,
}

/// The first pause before a full server is asked again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Full {
    fn after(former: Option<&Self>) -> Self {
        let pause = former.map_or(PAUSES.0, |full| (full.pause * 2).min(PAUSES.1));
        let jitter = pause.mul_f64(fastrand::f64() / 2.0);
        Self {
            until: Instant::now() + pause + jitter,
            pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::line::Patience;
    use super::*;

    fn waits(queue: &mut Queue) -> oneshot::Receiver<Result<Connection, LoginError>> {
        let begun = Instant::now();
        let due = begun + Duration::from_secs(5);
        let (sender, receiver) = oneshot::channel();
        queue.waiting.join(Patience { begun, due }, sender);
        receiver
    }

    fn failure(kind: std::io::ErrorKind) -> LoginError {
        LoginError::from(sqlx::Error::from(std::io::Error::from(kind)))
    }

    #[test]
    fn a_login_that_timed_out_fails_nobody_and_halves_how_many_are_tried_at_once() {
        let mut queue = Queue::default();
        let callers: Vec<_> = (0..10).map(|_| waits(&mut queue)).collect();
        for _ in 0..6 {
            queue.succeed();
        }
        assert_eq!((0..10).filter_map(|_| queue.begin(10)).count(), 8);
        queue.end();
        let told = queue.fail(&failure(std::io::ErrorKind::TimedOut));
        assert!(told.is_empty() && queue.begin(10).is_none());
        for _ in 0..3 {
            queue.end();
        }
        assert!(queue.begin(10).is_none(), "four are in flight");
        queue.end();
        assert!(queue.begin(10).is_some());

        let told = queue.fail(&failure(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(told.len(), callers.len(), "a server that is gone is gone for all");
    }

    #[test]
    fn logins_ahead_of_callers_leave_room_and_end_with_a_failure() {
        let mut queue = Queue {
            ahead: 5,
            ..Queue::default()
        };
        assert!(queue.begin(1) == Some(Purpose::Spares));
        assert!(queue.begin(1).is_none(), "there is no room");
        assert!(queue.begin(9) == Some(Purpose::Spares));
        assert!(queue.begin(9).is_none(), "a burst begins with two");
        queue.end();
        queue.fail(&failure(std::io::ErrorKind::TimedOut));
        queue.end();
        assert!(queue.begin(9).is_none());
    }
}
