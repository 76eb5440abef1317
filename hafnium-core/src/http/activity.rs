//! What happens on one connection, and when it is to be closed: pure, with the time passed in.

use std::time::Duration;

use tokio::time::Instant;

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the first byte of a head to its last, and from the accept to the first byte.
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// From the moment in which the client takes no more of an answer.
    pub(crate) write: Duration,
}

/// How long a request that is just arriving when the listener stops may still take to arrive. A client that connected
/// in the same moment did nothing wrong.
const ARRIVING: Duration = Duration::from_millis(500);

/// The activity of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When the connection has its age, if there is one.
    retires: Option<Instant>,
    /// Requests whose answers are not wholly sent.
    active: u32,
    requests: u64,
    multiplexed: bool,
    /// When the connection was accepted or its last request ended.
    quiet_since: Instant,
    /// When bytes last came.
    received: Instant,
    /// When the first byte of a head came whose last has not come yet.
    head_since: Option<Instant>,
    /// Since when an answer waits for the client to take it.
    stuck_since: Option<Instant>,
    /// Pieces of answers that were given to a multiplexed connection and are not written: they wait for their windows.
    untaken: u32,
    /// When a byte of such a piece was last written, or the first of them was given.
    moved: Instant,
    /// The client was told that the connection has its age.
    retired: bool,
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
    pub(crate) fn new(now: Instant, age: Option<Duration>) -> Self {
        Self {
            retires: age.map(|age| now + age),
            active: 0,
            requests: 0,
            multiplexed: false,
            quiet_since: now,
            received: now,
            head_since: None,
            stuck_since: None,
            untaken: 0,
            moved: now,
            retired: false,
        }
    }

    /// Bytes came in.
    pub(crate) fn received(&mut self, now: Instant) {
        self.received = now;
        if self.active == 0 && self.head_since.is_none() {
            self.head_since = Some(now);
        }
    }

    /// A request's head is complete; returns since when: the bytes that came last, or what was answered before it.
    pub(crate) fn request(&mut self, multiplexed: bool) -> Instant {
        self.active += 1;
        self.requests += 1;
        self.multiplexed = multiplexed;
        self.head_since = None;
        self.received.max(self.quiet_since)
    }

    /// An answer was wholly sent, or given up.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.active = self.active.saturating_sub(1);
        self.quiet_since = now;
        self.head_since = None;
    }

    /// The client takes nothing more for now.
    pub(crate) fn stuck(&mut self, now: Instant) {
        self.stuck_since.get_or_insert(now);
    }

    /// The client takes bytes again.
    pub(crate) fn flows(&mut self, now: Instant) {
        self.stuck_since = None;
        self.quiet_since = now;
    }

    /// A piece of an answer waits to be written on a multiplexed connection.
    pub(crate) fn gave(&mut self, now: Instant) {
        if self.untaken == 0 {
            self.moved = now;
        }
        self.untaken += 1;
    }

    /// Some bytes of such a piece were written.
    pub(crate) fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Such a piece was wholly written, or given up.
    pub(crate) fn took(&mut self) {
        self.untaken = self.untaken.saturating_sub(1);
    }

    /// Whether there are bytes that the client is still to take. A request's answer may be wholly made by then, and its
    /// connection is still in use.
    pub(crate) fn is_writing(&self) -> bool {
        self.stuck_since.is_some()
    }

    /// Whether the client takes nothing for longer than it may: nothing at all, or over HTTP/2 nothing of any answer. One
    /// stream that stands still is the client's own affair as long as others move.
    pub(crate) fn is_stuck(&self, limits: Limits, now: Instant) -> bool {
        let unmoved = (self.untaken > 0).then_some(self.moved);
        let stuck = self.stuck_since.or(unmoved);
        stuck.is_some_and(|since| now >= since + limits.write)
    }

    /// Whether the connection has its age.
    pub(crate) fn is_of_age(&self, now: Instant) -> bool {
        self.retires.is_some_and(|retires| now >= retires)
    }

    /// What to do while serving.
    pub(crate) fn advise(&mut self, limits: Limits, now: Instant) -> Advice {
        if self.is_stuck(limits, now) {
            return Advice::Cut;
        }
        // GOAWAY crosses with no request. An HTTP/1.1 connection is told with its next answer instead: a request may be
        // on its way to it in any moment.
        if self.multiplexed && !self.retired && self.is_of_age(now) {
            self.retired = true;
            return Advice::Finish;
        }
        let mut advice = self.advise_quiet(limits, now);
        if let (Advice::Keep(until), Some(retires)) = (&mut advice, self.retires)
            && retires > now
        {
            *until = retires.min(*until);
        }
        advice
    }

    fn advise_quiet(&self, limits: Limits, now: Instant) -> Advice {
        if self.active > 0 || self.stuck_since.is_some() {
            return Advice::Keep(now + limits.idle.min(limits.header).min(limits.write));
        }
        // An idle HTTP/2 connection receives pings and window updates, which are not the beginning of a head.
        let head_since = match self.head_since {
            Some(since) if !self.multiplexed => Some(since),
            _ if self.requests == 0 => Some(self.quiet_since),
            _ => None,
        };
        match head_since {
            Some(since) if now >= since + limits.header => Advice::Cut,
            Some(since) => Advice::Keep(since + limits.header),
            None if now >= self.quiet_since + limits.idle => Advice::Finish,
            // A head may begin at any time; it is to be noticed within its own limit.
            None => Advice::Keep((self.quiet_since + limits.idle).min(now + limits.header)),
        }
    }

    /// What to do once the listener stopped at `stopped`.
    pub(crate) fn advise_stopping(&self, stopped: Instant, now: Instant) -> Advice {
        let arriving = self.active == 0 && (self.requests == 0 || self.head_since.is_some());
        if !arriving || self.multiplexed {
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
        write: Duration::from_secs(30),
    };

    fn seconds(after: u64) -> Duration {
        Duration::from_secs(after)
    }

    #[test]
    fn a_connection_that_never_says_anything_is_cut_after_the_header_timeout() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
        assert_eq!(activity.advise(LIMITS, begun), Advice::Keep(begun + seconds(10)));
        assert_eq!(activity.advise(LIMITS, begun + seconds(10)), Advice::Cut);
    }

    #[test]
    fn a_request_begins_with_its_last_bytes_and_not_before_the_answer_to_the_one_that_it_came_with() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
        activity.received(begun + seconds(1));
        assert_eq!(activity.request(false), begun + seconds(1));
        activity.answered(begun + seconds(7));
        assert_eq!(activity.request(false), begun + seconds(7));
    }

    #[test]
    fn a_head_that_comes_slowly_is_cut_however_steady_its_bytes_come() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
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
        let mut activity = Activity::new(begun, None);
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
        let mut activity = Activity::new(begun, None);
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
        let mut idle = Activity::new(begun, None);
        idle.request(false);
        idle.answered(begun);
        assert_eq!(idle.advise_stopping(begun, begun), Advice::Finish);
        let mut fresh = Activity::new(begun, None);
        assert!(matches!(fresh.advise_stopping(begun, begun), Advice::Keep(_)));
        assert_eq!(fresh.advise_stopping(begun, begun + ARRIVING), Advice::Cut);
        fresh.request(false);
        assert_eq!(fresh.advise_stopping(begun, begun), Advice::Finish);
    }

    #[test]
    fn at_its_age_an_http2_connection_is_told_once_and_an_http1_one_with_its_next_answer() {
        let begun = Instant::now();
        let age = Some(seconds(60));
        let mut multiplexed = Activity::new(begun, age);
        multiplexed.request(true);
        assert!(!multiplexed.is_of_age(begun + seconds(59)));
        let Advice::Keep(until) = multiplexed.advise(LIMITS, begun + seconds(55)) else {
            panic!("to be kept");
        };
        assert_eq!(until, begun + seconds(60), "looked at in time");
        assert_eq!(multiplexed.advise(LIMITS, begun + seconds(60)), Advice::Finish);
        assert!(matches!(
            multiplexed.advise(LIMITS, begun + seconds(60)),
            Advice::Keep(_)
        ));
        let mut kept = Activity::new(begun, age);
        kept.request(false);
        kept.answered(begun + seconds(50));
        assert!(matches!(
            kept.advise(LIMITS, begun + seconds(60)),
            Advice::Keep(_)
        ));
        assert!(kept.is_of_age(begun + seconds(60)));
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_answer_is_cut() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
        activity.request(false);
        activity.stuck(begun);
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(29)),
            Advice::Keep(_)
        ));
        activity.flows(begun + seconds(29));
        activity.stuck(begun + seconds(29));
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(31)),
            Advice::Keep(_)
        ));
        assert_eq!(activity.advise(LIMITS, begun + seconds(59)), Advice::Cut);
    }

    #[test]
    fn a_client_that_opens_no_window_is_cut_and_one_that_does_is_not() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
        activity.request(true);
        assert!(
            !activity.is_stuck(LIMITS, begun + seconds(500)),
            "nothing to take"
        );
        activity.gave(begun + seconds(500));
        assert!(!activity.is_stuck(LIMITS, begun + seconds(529)));
        activity.moved(begun + seconds(529));
        activity.gave(begun + seconds(540));
        assert!(!activity.is_stuck(LIMITS, begun + seconds(558)));
        assert!(activity.is_stuck(LIMITS, begun + seconds(559)));
        activity.took();
        assert!(activity.is_stuck(LIMITS, begun + seconds(559)));
        activity.took();
        assert!(!activity.is_stuck(LIMITS, begun + seconds(900)));
    }

    #[test]
    fn an_answer_that_the_client_still_takes_keeps_its_connection_in_use() {
        let begun = Instant::now();
        let mut activity = Activity::new(begun, None);
        activity.request(false);
        activity.answered(begun);
        for second in (10..500).step_by(10) {
            activity.stuck(begun + seconds(second));
            assert!(activity.is_writing());
            assert!(matches!(
                activity.advise(LIMITS, begun + seconds(second + 9)),
                Advice::Keep(_)
            ));
            activity.flows(begun + seconds(second + 9));
        }
        assert!(matches!(
            activity.advise(LIMITS, begun + seconds(570)),
            Advice::Keep(_)
        ));
        assert_eq!(activity.advise(LIMITS, begun + seconds(575)), Advice::Finish);
    }
}
