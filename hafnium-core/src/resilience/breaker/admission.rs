//! A call that was let through.

use tokio::time::Instant;

use super::handle::Breaker;
use super::machine::Ticket;
use super::verdict::Verdict;
use crate::classify::Classify;

/// The breaker's leave to make one call. Dropped without a verdict, the call counts as nothing, and the place that a
/// probe took is free again.
#[must_use = "dropped, the call counts as nothing"]
pub struct Admission {
    breaker: Breaker,
    ticket: Ticket,
    begun: Instant,
    settled: bool,
}

impl Admission {
    pub(super) fn new(breaker: Breaker, ticket: Ticket, begun: Instant) -> Self {
        Self {
            breaker,
            ticket,
            begun,
            settled: false,
        }
    }

    /// The call has ended.
    pub fn record(mut self, verdict: Verdict) {
        self.settled = true;
        self.breaker.record(self.ticket, verdict, self.begun);
    }

    /// The call has ended with `result`: [`Verdict::of`] it.
    pub fn observe<T, E: Classify>(self, result: &Result<T, E>) {
        self.record(Verdict::of(result));
    }

    /// The call begins only now, if the state is still the one it was let through in.
    pub(super) fn begin(&mut self) -> bool {
        self.begun = Instant::now();
        self.is_current()
    }

    /// Whether the state is still the one it was let through in.
    pub(super) fn is_current(&self) -> bool {
        self.breaker.is_current(self.ticket)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.abandon(self.ticket);
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("breaker", &self.breaker.name())
            .field("ticket", &self.ticket)
            .finish()
    }
}
