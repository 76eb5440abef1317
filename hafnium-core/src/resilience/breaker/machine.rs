//! The states of a breaker: pure, with the time passed in.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::{BreakerSettings, BreakerWindow};
use super::verdict::Verdict;
use super::window::{Counts, Span, Window};

/// What is told to wait while all probes are under way: when the first of them ends is not known.
const PROBING: Duration = Duration::from_secs(1);

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass, to see whether the dependency works again.
    HalfOpen,
}

impl BreakerState {
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The stable name: `closed`, `open`, `half_open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The settings as they are used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    span: Span,
    minimum_calls: u32,
    failure_rate: f64,
    slow_call: Option<Duration>,
    slow_rate: f64,
    open_for: Duration,
    probes: u32,
    probe_timeout: Duration,
}

impl From<&BreakerSettings> for Rules {
    fn from(settings: &BreakerSettings) -> Self {
        let span = match settings.window {
            BreakerWindow::Time => Span::Time(settings.window_time.get()),
            BreakerWindow::Count => Span::Calls(settings.window_calls as usize),
        };
        Self {
            span,
            minimum_calls: settings.minimum_calls.max(1),
            failure_rate: settings.failure_rate.get(),
            slow_call: settings.slow_call.map(|limit| limit.get()),
            slow_rate: settings.slow_rate.get(),
            open_for: settings.open_for.get(),
            probes: settings.probes.max(1),
            probe_timeout: settings.probe_timeout.get(),
        }
    }
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open,
    HalfOpen(Probing),
}

#[derive(Debug, Default)]
struct Probing {
    under_way: u32,
    succeeded: u32,
    /// When the last place was taken or given back.
    moved: Option<Instant>,
}

/// That a call was let through. Belongs to the state it was given in: what comes later counts as nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    generation: u64,
    probe: bool,
}

/// The state has changed to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) to: BreakerState,
    /// What the window held that opened it.
    pub(super) counts: Counts,
}

#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    phase: Phase,
    since: Instant,
    generation: u64,
    opened: u64,
    /// What opened it last.
    tripped: Counts,
}

impl Machine {
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            phase: Phase::Closed(Window::new(rules.span)),
            since: now,
            generation: 0,
            opened: 0,
            tripped: Counts::default(),
        }
    }

    /// Other rules from `now` on: the state, its age and what the window holds stay. Where fewer probes are now enough
    /// than have succeeded, it closes.
    pub(super) fn configure(&mut self, rules: Rules, now: Instant) -> Option<Changed> {
        if self.rules.span != rules.span
            && let Phase::Closed(window) = &mut self.phase
        {
            let held = std::mem::replace(window, Window::new(rules.span));
            *window = held.resized(rules.span, now);
        }
        self.rules = rules;
        self.close_if_proven(now)
    }

    fn close_if_proven(&mut self, now: Instant) -> Option<Changed> {
        let proven =
            matches!(&self.phase, Phase::HalfOpen(probing) if probing.succeeded >= self.rules.probes);
        let window = Window::new(self.rules.span);
        proven.then(|| self.enter(Phase::Closed(window), Counts::default(), now))
    }

    /// Lets a call through, or says how long to stay away.
    pub(super) fn admit(&mut self, now: Instant) -> (Result<Ticket, Duration>, Option<Changed>) {
        let mut changed = None;
        if let Phase::Open = self.phase {
            let left = self.rules.open_for.saturating_sub(self.age(now));
            if !left.is_zero() {
                return (Err(left), None);
            }
            changed = Some(self.enter(Phase::HalfOpen(Probing::default()), Counts::default(), now));
        }
        let generation = self.generation;
        let Phase::HalfOpen(probing) = &mut self.phase else {
            let ticket = Ticket {
                generation,
                probe: false,
            };
            return (Ok(ticket), changed);
        };
        if probing.under_way.saturating_add(probing.succeeded) < self.rules.probes {
            probing.under_way += 1;
            probing.moved = Some(now);
            let ticket = Ticket {
                generation,
                probe: true,
            };
            return (Ok(ticket), changed);
        }
        let still = probing
            .moved
            .map_or(Duration::ZERO, |moved| now.saturating_duration_since(moved));
        if still >= self.rules.probe_timeout {
            let changed = self.enter(Phase::Open, Counts::default(), now);
            return (Err(self.rules.open_for), Some(changed));
        }
        (Err(PROBING), changed)
    }

    /// Whether a ticket still belongs to the present state.
    pub(super) fn is_current(&self, ticket: Ticket) -> bool {
        ticket.generation == self.generation
    }

    /// A call that was let through has ended after `took`.
    pub(super) fn record(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
        took: Duration,
        now: Instant,
    ) -> Option<Changed> {
        if ticket.generation != self.generation {
            return None;
        }
        let failure = match verdict {
            Verdict::Ignored => {
                self.abandon(ticket, now);
                return None;
            }
            Verdict::Failure => true,
            Verdict::Success => false,
        };
        let slow = self.rules.slow_call.is_some_and(|limit| took >= limit);
        match &mut self.phase {
            Phase::Closed(window) => {
                window.push(Counts::one(failure, slow), now);
                let counts = window.counts(now);
                let enough = counts.calls >= self.rules.minimum_calls || window.is_full();
                (enough && self.rules.opens(counts)).then(|| self.enter(Phase::Open, counts, now))
            }
            Phase::HalfOpen(_) if failure || slow => {
                Some(self.enter(Phase::Open, Counts::one(failure, slow), now))
            }
            Phase::HalfOpen(probing) => {
                probing.under_way = probing.under_way.saturating_sub(1);
                probing.succeeded += 1;
                probing.moved = Some(now);
                self.close_if_proven(now)
            }
            Phase::Open => None,
        }
    }

    /// A call that was let through did not come to an end: its place is free again.
    pub(super) fn abandon(&mut self, ticket: Ticket, now: Instant) {
        if ticket.generation == self.generation
            && ticket.probe
            && let Phase::HalfOpen(probing) = &mut self.phase
        {
            probing.under_way = probing.under_way.saturating_sub(1);
            probing.moved = Some(now);
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open => BreakerState::Open,
            Phase::HalfOpen(_) => BreakerState::HalfOpen,
        }
    }

    /// How long it has been in its state.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// How often it has opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// What the window holds, or held when it opened.
    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        match &mut self.phase {
            Phase::Closed(window) => window.counts(now),
            Phase::Open | Phase::HalfOpen(_) => self.tripped,
        }
    }

    fn enter(&mut self, phase: Phase, counts: Counts, now: Instant) -> Changed {
        if let Phase::Open = phase {
            self.opened += 1;
            self.tripped = counts;
        }
        self.phase = phase;
        self.since = now;
        self.generation += 1;
        Changed {
            to: self.state(),
            counts,
        }
    }
}

impl Rules {
    fn opens(&self, counts: Counts) -> bool {
        // A rate of zero would open on successes. Binary fractions: 0.1 × 30 is a little more than 3.
        let reached =
            |part: u32, rate: f64| part > 0 && f64::from(part) + 1e-6 >= rate * f64::from(counts.calls);
        reached(counts.failures, self.failure_rate)
            || (self.slow_call.is_some() && reached(counts.slow, self.slow_rate))
    }
}

#[cfg(test)]
mod tests;
