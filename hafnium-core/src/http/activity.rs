//! What happens on one connection, and when it is to be closed: pure, with the time passed in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the first byte of a head to its last, and from the accept to the first byte.
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
}

/// How long a request that is just arriving when the listener stops may still take to arrive. A client that connected
/// in the same moment did nothing wrong.
const ARRIVING: Duration = Duration::from_millis(500);

/// The activity of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests whose answers are not wholly sent.
    active: u32,
    requests: u64,
    multiplexed: bool,
    /// When the connection was accepted or its last request ended.
    quiet_since: Instant,
    /// When the first byte of a head came whose last has not come yet.
    head_since: Option<Instant>,
}

/// What to do with a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Look again at that instant.
    Keep(Instant),
    /// Nothing is under way: end it politely.
    Finish,
    /// The client took too long.
    Cut,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                active: 0,
                requests: 0,
                multiplexed: false,
                quiet_since: now,
                head_since: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came in.
    pub(crate) fn received(&self, now: Instant) {
        let mut state = self.state();
        if state.active == 0 && state.head_since.is_none() {
            state.head_since = Some(now);
        }
    }

    /// A request's head is complete.
    pub(crate) fn request(&self, multiplexed: bool) {
        let mut state = self.state();
        state.active += 1;
        state.requests += 1;
        state.multiplexed = multiplexed;
        state.head_since = None;
    }

    /// An answer was wholly sent, or given up.
    pub(crate) fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.active = state.active.saturating_sub(1);
        state.quiet_since = now;
        state.head_since = None;
    }

    /// What to do while serving.
    pub(crate) fn advise(&self, limits: Limits, now: Instant) -> Advice {
        let state = self.state();
        if state.active > 0 {
            return Advice::Keep(now + limits.idle.min(limits.header));
        }
        // An idle HTTP/2 connection receives pings and window updates, which are not the beginning of a head.
        let head_since = match state.head_since {
            Some(since) if !state.multiplexed => Some(since),
            _ if state.requests == 0 => Some(state.quiet_since),
            _ => None,
        };
        match head_since {
            Some(since) if now >= since + limits.header => Advice::Cut,
            Some(since) => Advice::Keep(since + limits.header),
            None if now >= state.quiet_since + limits.idle => Advice::Finish,
            // A head may begin at any time; it is to be noticed within its own limit.
            None => Advice::Keep((state.quiet_since + limits.idle).min(now + limits.header)),
        }
    }

    /// What to do once the listener stopped at `stopped`.
    pub(crate) fn advise_stopping(&self, stopped: Instant, now: Instant) -> Advice {
        let state = self.state();
        let arriving = state.active == 0 && (state.requests == 0 || state.head_since.is_some());
        if !arriving || state.multiplexed {
            Advice::Finish
        } else if now >= stopped + ARRIVING {
            Advice::Cut
        } else {
            Advice::Keep((now + ARRIVING / 10).min(stopped + ARRIVING))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    fn seconds(after: u64) -> Duration {
        Duration::from_secs(after)
    }

    #[test]
    fn a_connection_that_never_says_anything_is_cut_after_the_header_timeout() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        assert_eq!(activity.advise(LIMITS, begun), Advice::Keep(begun + seconds(10)));
        assert_eq!(activity.advise(LIMITS, begun + seconds(10)), Advice::Cut);
    }

    #[test]
    fn a_head_that_comes_slowly_is_cut_however_steady_its_bytes_come() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        activity.request(false);
        activity.answered(begun + seconds(1));
        for second in 20..29 {
            activity.received(begun + seconds(second));
            assert!(matches!(
                activity.advise(LIMITS, begun + seconds(second)),
                Advice::Keep(_)
            ));
        }
        assert_eq!(activity.advise(LIMITS, begun + seconds(30)), Advice::Cut);
    }

    #[test]
    fn a_kept_connection_is_ended_politely_after_the_idle_timeout_and_never_while_a_request_runs() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        activity.request(false);
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(500)),
            Advice::Keep(_)
        ));
        activity.answered(begun + seconds(500));
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(574)),
            Advice::Keep(_)
        ));
        assert_eq!(activity.advise(LIMITS, begun + seconds(575)), Advice::Finish);
    }

    #[test]
    fn pings_on_an_idle_http2_connection_are_not_a_slow_head() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        activity.request(true);
        activity.answered(begun);
        activity.received(begun + seconds(1));
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(30)),
            Advice::Keep(_)
        ));
    }

    #[test]
    fn at_the_stop_idle_connections_end_at_once_and_arriving_requests_get_half_a_second() {
        let begun = Instant::now();
        let idle = Activity::new(begun);
        idle.request(false);
        idle.answered(begun);
        assert_eq!(idle.advise_stopping(begun, begun), Advice::Finish);
        let fresh = Activity::new(begun);
        assert!(matches!(fresh.advise_stopping(begun, begun), Advice::Keep(_)));
        assert_eq!(fresh.advise_stopping(begun, begun + ARRIVING), Advice::Cut);
        fresh.request(false);
        assert_eq!(fresh.advise_stopping(begun, begun), Advice::Finish);
    }
}
