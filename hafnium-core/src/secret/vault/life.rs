//! For how long a server granted something, and when to act on it. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Beyond this an instant could overflow; nothing that is granted for longer ends while a process lives.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The span of a token or a lease, as the client may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    ends: Option<Instant>,
    due: Option<Instant>,
}

impl Life {
    /// Never ends, such as a root token.
    pub(super) const ENDLESS: Self = Self {
        ends: None,
        due: None,
    };

    /// What was granted for `ttl` by an answer to a request sent at `sent`. The time of sending is taken because the
    /// answer may have been long on its way. A `ttl` of zero is a life without an end.
    pub(super) fn granted(sent: Instant, ttl: Duration, jitter: Jitter) -> Self {
        if ttl.is_zero() {
            return Self::ENDLESS;
        }
        let ttl = ttl.min(FOR_EVER);
        Self {
            ends: Some(sent + ttl),
            due: Some(sent + ttl.mul_f64(jitter.due())),
        }
    }

    /// What a renewal granted. Vault rounds what is left up to whole seconds, so up to one of them may not exist: it is
    /// due as if it did not.
    pub(super) fn renewed(sent: Instant, ttl: Duration, jitter: Jitter) -> Self {
        const ROUNDED: Duration = Duration::from_secs(1);
        let sure = if ttl < 2 * ROUNDED { ttl / 2 } else { ttl - ROUNDED };
        Self {
            due: Self::granted(sent, sure, jitter).due,
            ..Self::granted(sent, ttl, jitter)
        }
    }

    /// When it is over; never when `None`.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// When to renew or replace it: two thirds of its life, or up to a tenth of that earlier.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is over.
    pub(super) fn over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }

    /// Whether it is to be renewed or replaced.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// The same life, to be acted on at once.
    pub(super) fn at_once(self, now: Instant) -> Self {
        Self {
            due: Some(now),
            ..self
        }
    }

    /// The same life, with nothing to be done before its end.
    pub(super) fn left_alone(self) -> Self {
        Self {
            due: self.ends,
            ..self
        }
    }
}

/// Where between the earliest and the latest moment something is done; spreads what many replicas do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jitter(f64);

impl Jitter {
    #[cfg(test)]
    pub(super) const LATE: Self = Self(1.0);

    /// `at` from 0 (early) to 1 (late).
    #[cfg(test)]
    pub(super) fn new(at: f64) -> Self {
        Self(at.clamp(0.0, 1.0))
    }

    pub(super) fn random() -> Self {
        Self(fastrand::f64())
    }

    /// The share of a life after which it is acted on: 0.6 to 0.667.
    pub(super) fn due(self) -> f64 {
        2.0 / 3.0 * (0.9 + 0.1 * self.0)
    }

    /// A pause of `longest` at most and half of it at least.
    pub(super) fn pause(self, longest: Duration) -> Duration {
        longest.mul_f64(0.5 + 0.5 * self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_due_at_two_thirds_or_up_to_a_tenth_earlier() {
        let now = Instant::now();
        for (jitter, due) in [(0.0, 36_000), (1.0, 40_000)] {
            let life = Life::granted(now, Duration::from_secs(60), Jitter::new(jitter));
            let after = life.due().unwrap() - now;
            assert!(after.abs_diff(Duration::from_millis(due)) < Duration::from_millis(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_due_as_if_it_were_a_second_shorter() {
        let now = Instant::now();
        let life = Life::renewed(now, Duration::from_secs(20), Jitter::new(1.0));
        assert_eq!(life.ends(), Some(now + Duration::from_secs(20)));
        let after = |life: Life| (life.due().unwrap() - now).as_millis();
        assert_eq!(after(life), 12_666);
        let short = Life::renewed(now, Duration::from_secs(1), Jitter::new(1.0));
        assert_eq!(after(short), 333);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_ttl_never_ends() {
        let life = Life::granted(Instant::now(), Duration::ZERO, Jitter::new(0.5));
        assert_eq!(life, Life::ENDLESS);
        let far = Life::granted(Instant::now(), Duration::MAX, Jitter::new(0.5));
        assert!(!far.over(Instant::now() + Duration::from_secs(3600)));
    }
}
