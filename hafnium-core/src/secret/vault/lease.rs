//! When a lent credential is renewed and when it is replaced. Pure: the time is an argument.
//!
//! A lease ends with its own time or with the token that took it, whichever comes first. A renewal that grants less
//! than was asked means another credential while the old one still works.

use std::time::Duration;

use tokio::time::Instant;

use super::life::{Jitter, Life};

/// The shortest time after which the store is asked to come back.
const SOON: Duration = Duration::from_millis(250);

/// For so long a login that is refused is not replaced by yet another one.
const FRESH: Duration = Duration::from_secs(5);

/// The token that stands behind requests now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    pub(super) generation: u64,
    /// When it ends, as far as is known.
    pub(super) ends: Option<Instant>,
}

/// What is to be done with a lease that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseStep {
    /// Ask for its renewal.
    Renew,
    /// It serves on as it is.
    Keep,
    /// Take another credential.
    Replace,
}

/// The life of one lent credential.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    life: Life,
    asked: Duration,
    renewable: bool,
    generation: u64,
    lent: Instant,
}

impl Lease {
    /// What was lent for `ttl` with the token of `generation`, by a request sent at `sent`.
    pub(super) fn lent(
        sent: Instant,
        ttl: Duration,
        renewable: bool,
        generation: u64,
        jitter: Jitter,
    ) -> Self {
        Self {
            life: Life::granted(sent, ttl, jitter),
            asked: ttl,
            renewable,
            generation,
            lent: sent,
        }
    }

    /// The token that took it, of which nothing more is known.
    pub(super) fn behind(&self) -> Behind {
        Behind {
            generation: self.generation,
            ends: None,
        }
    }

    /// What a renewal asks for.
    pub(super) fn asked(&self) -> Duration {
        self.asked
    }

    /// What is to be done at `now`, while the token `behind` is in use.
    pub(super) fn step(&self, now: Instant, behind: Behind) -> LeaseStep {
        // Lent with an older token, it ends with that one, whatever a renewal says.
        if self.generation != behind.generation || self.life.over(now) {
            return LeaseStep::Replace;
        }
        match (self.life.is_due(now), self.renewable) {
            (false, _) => LeaseStep::Keep,
            (true, true) => LeaseStep::Renew,
            (true, false) => LeaseStep::Replace,
        }
    }

    /// Whether it is so new that whoever refuses it may not have heard of it yet, such as a replica that lags behind.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.lent + FRESH && !self.life.over(now)
    }

    /// A renewal that was sent at `sent` was answered.
    pub(super) fn renewed(&mut self, sent: Instant, ttl: Duration, renewable: bool, jitter: Jitter) {
        let capped = ttl < self.asked;
        self.life = Life::renewed(sent, ttl, jitter);
        if capped || !renewable {
            self.life = self.life.at_once(sent);
            self.renewable = false;
        }
    }

    /// The server said that it can't be renewed: it is replaced when it is due.
    pub(super) fn not_renewable(&mut self) {
        self.renewable = false;
    }

    /// Whether it can still be logged in with at `now`.
    pub(super) fn works(&self, now: Instant) -> bool {
        !self.life.over(now)
    }

    /// When the store is to ask again, from `now`: when it is due itself, and by a third of what is left of the token. A
    /// question that comes right before the token is replaced is thus followed by another long before the token ends;
    /// as long as nothing is to be done, answering costs nothing.
    pub(super) fn refresh_after(&self, now: Instant, behind: Behind) -> Option<Duration> {
        let own = self.life.due().map(|due| due.saturating_duration_since(now));
        let token = (behind.generation == self.generation)
            .then_some(behind.ends)
            .flatten()
            .map(|ends| ends.saturating_duration_since(now) / 3);
        nearest(own, token).map(|after| after.max(SOON))
    }

    /// When the store is to ask again after a replacement failed: half of what is left.
    pub(super) fn retry_after(&self, now: Instant) -> Duration {
        const LONGEST: Duration = Duration::from_secs(30);
        let left = self
            .life
            .ends()
            .map_or(LONGEST, |ends| ends.saturating_duration_since(now) / 2);
        left.clamp(SOON, LONGEST)
    }

    /// When it stops working unless it is renewed, from `now`.
    pub(super) fn expires_after(&self, now: Instant, behind: Behind) -> Option<Duration> {
        let token = (behind.generation == self.generation)
            .then_some(behind.ends)
            .flatten();
        let left = |ends: Instant| ends.saturating_duration_since(now);
        nearest(self.life.ends().map(left), token.map(left))
    }
}

fn nearest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
