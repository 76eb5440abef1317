//! Pauses between attempts that failed. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::life::Jitter;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// A server may ask for more patience than this; then it is asked a little early, and says so again.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// When the next attempt may be made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure at `now`. `asked` is the pause that the server asked for.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>, jitter: Jitter) {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        let pause = jitter
            .pause(longest)
            .max(asked.unwrap_or_default().min(LONGEST_ASKED));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause);
    }

    /// No attempt before `instant`, for another reason than a failure.
    pub(super) fn not_before(&mut self, instant: Instant) {
        self.until = self.until.max(Some(instant));
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Until when no attempt is to be made; `None` when one may be made at `now`.
    pub(super) fn pending(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_a_success_ends_them() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.failed(now, None, Jitter::new(1.0));
            pauses.push(backoff.pending(now).unwrap() - now);
        }
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses[11], LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.pending(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_patience_gets_it() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.failed(now, Some(Duration::from_secs(7)), Jitter::new(0.0));
        assert_eq!(backoff.pending(now), Some(now + Duration::from_secs(7)));
    }
}
