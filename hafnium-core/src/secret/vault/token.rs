//! When to log in, renew or log in again. Pure: the time is an argument, no clock and no I/O inside.
//!
//! A token is renewed at two thirds of its life, apart from any lease. A renewal that grants less than was asked says
//! that the longest life is near: then, and for a token that can't be renewed, the next token is had by another login
//! while the old one still works. An outage never ends a token.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::life::{Jitter, Life};

/// Between two logins that a refused token leads to.
const BETWEEN_LOGINS: Duration = Duration::from_secs(1);

/// What an answer says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    /// What is left of it; zero when it never ends.
    pub(super) ttl: Duration,
    /// What a renewal is to ask for.
    pub(super) asked: Duration,
    pub(super) renewable: bool,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    LogIn,
    Renew,
    /// Nothing before that instant; nothing at all when `None`.
    Wait(Option<Instant>),
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setback {
    /// The server could not answer, with the pause it asked for.
    Outage(Option<Duration>),
    /// The server refused: a login is wrong, a token can't be renewed.
    Refused,
    /// The server does not know the token (any more).
    Invalid,
}

/// What is known of the token in use.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    held: Option<Held>,
    generation: u64,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    life: Life,
    asked: Duration,
    then: Then,
    since: Instant,
}

/// What to do when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Renew,
    LogIn,
}

impl Schedule {
    /// What is to be done at `now`.
    pub(super) fn step(&self, now: Instant) -> Step {
        let pending = self.backoff.pending(now);
        let wanted = match &self.held {
            None => Step::LogIn,
            Some(held) if held.life.over(now) => Step::LogIn,
            Some(held) if held.life.is_due(now) => match held.then {
                Then::Renew => Step::Renew,
                Then::LogIn => Step::LogIn,
            },
            Some(held) => return Step::Wait(held.life.due()),
        };
        match pending {
            None => wanted,
            Some(until) => Step::Wait(Some(until)),
        }
    }

    /// The generation of the token that may be used at `now`.
    pub(super) fn usable(&self, now: Instant) -> Option<u64> {
        let held = self.held.as_ref()?;
        (!held.life.over(now)).then_some(self.generation)
    }

    /// When the token in use ends, as far as is known.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|held| held.life.ends())
    }

    /// What a renewal is to ask for.
    pub(super) fn asked(&self) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |held| held.asked)
    }

    /// A login that was sent at `sent` gave another token; its generation is returned.
    pub(super) fn logged_in(&mut self, sent: Instant, grant: Grant, jitter: Jitter) -> u64 {
        self.generation += 1;
        self.hold(sent, grant, jitter);
        self.generation
    }

    /// A "login" gave the token that is in use already: whoever handed it to us has no other yet. There is nothing
    /// left to do for it before its end.
    pub(super) fn nothing_newer(&mut self, sent: Instant, grant: Grant, jitter: Jitter) {
        let renewable_still = grant.renewable && grant.ttl >= grant.asked;
        self.hold(sent, grant, jitter);
        if let (false, Some(held)) = (renewable_still, &mut self.held) {
            held.life = held.life.left_alone();
            held.then = Then::LogIn;
        }
    }

    fn hold(&mut self, sent: Instant, grant: Grant, jitter: Jitter) {
        self.held = Some(Held {
            life: Life::granted(sent, grant.ttl, jitter),
            asked: grant.asked,
            then: if grant.renewable { Then::Renew } else { Then::LogIn },
            since: sent,
        });
        self.backoff.succeeded();
    }

    /// A renewal that was sent at `sent` was answered.
    pub(super) fn renewed(&mut self, sent: Instant, grant: Grant, jitter: Jitter) {
        let Some(held) = &mut self.held else { return };
        let capped = !grant.ttl.is_zero() && grant.ttl < held.asked;
        held.life = Life::renewed(sent, grant.ttl, jitter);
        if capped || !grant.renewable {
            // At once: what is left of the old token is the time in which its leases are handed over.
            held.life = held.life.at_once(sent);
            held.then = Then::LogIn;
        }
        self.backoff.succeeded();
    }

    /// The step that was to be done failed.
    pub(super) fn failed(&mut self, step: Step, now: Instant, setback: Setback, jitter: Jitter) {
        match (step, setback) {
            (Step::Renew, Setback::Refused) => {
                if let Some(held) = &mut self.held {
                    held.then = Then::LogIn;
                }
            }
            (Step::Renew, Setback::Invalid) => self.invalid(self.generation, now),
            (_, Setback::Outage(asked)) => self.backoff.failed(now, asked, jitter),
            (_, Setback::Refused | Setback::Invalid) => self.backoff.failed(now, None, jitter),
        }
    }

    /// The server does not know the token of `generation`: log in again, once for all who noticed. A token that is
    /// refused right after its login does not lead to a storm of logins.
    pub(super) fn invalid(&mut self, generation: u64, now: Instant) {
        if generation != self.generation {
            return;
        }
        if let Some(held) = self.held.take()
            && now < held.since + BETWEEN_LOGINS
        {
            self.backoff.not_before(held.since + BETWEEN_LOGINS);
        }
    }

    /// Another token was handed to us: take it now.
    pub(super) fn superseded(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.life = held.life.at_once(now);
            held.then = Then::LogIn;
        }
        self.backoff.succeeded();
    }
}

#[cfg(test)]
mod tests;
