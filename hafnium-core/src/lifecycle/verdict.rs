//! How a stop ended.

use std::fmt;
use std::time::Duration;

/// A phase of a stop, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Still serving, already not ready.
    DrainDelay,
    /// Requests and records under way are finished.
    Drain,
    /// Background tasks end.
    Tasks,
    /// Components close.
    Components,
    /// Telemetry is delivered.
    Flush,
}

impl Phase {
    /// The stable name: `drain_delay`, `drain`, `tasks`, `components`, `flush`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DrainDelay => "drain_delay",
            Self::Drain => "drain",
            Self::Tasks => "tasks",
            Self::Components => "components",
            Self::Flush => "flush",
        }
    }
}

/// How a stop ended: how long each phase took and what was still under way at the end of its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Verdict {
    /// What did not end in time, or failed to; each with the phase in which that was found.
    pub stragglers: Vec<(Phase, String)>,
    /// How long each phase took.
    pub took: Vec<(Phase, Duration)>,
}

impl Verdict {
    /// Whether everything that serves or holds something ended in time. Telemetry that could not be delivered is named
    /// and does not count: a collector that is down must not turn every rollout into failed pods.
    pub fn is_clean(&self) -> bool {
        self.stragglers.iter().all(|(phase, _)| *phase == Phase::Flush)
    }

    /// What the process exits with if nothing else went wrong: 0, or 75 when the drain was incomplete.
    pub fn exit_code(&self) -> u8 {
        if self.is_clean() { 0 } else { 75 }
    }
}

/// One line: `drain complete in 5.2s (drain_delay 5.0s, drain 0.2s, ..)`, or what was still under way.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: Duration = self.took.iter().map(|(_, took)| *took).sum();
        let state = if self.is_clean() { "complete" } else { "incomplete" };
        write!(f, "drain {state} in {:.1}s (", total.as_secs_f64())?;
        for (index, (phase, took)) in self.took.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {:.1}s", phase.as_str(), took.as_secs_f64())?;
        }
        f.write_str(")")?;
        for (index, (phase, name)) in self.stragglers.iter().enumerate() {
            let lead = if index == 0 { "; not ended: " } else { ", " };
            write!(f, "{lead}{name} [{}]", phase.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_that_was_not_delivered_is_named_and_does_not_count() {
        let mut verdict = Verdict::default();
        verdict.stragglers.push((Phase::Flush, "traces".to_owned()));
        assert_eq!(verdict.exit_code(), 0);
        assert!(
            verdict.to_string().ends_with("; not ended: traces [flush]"),
            "{verdict}"
        );
        verdict
            .stragglers
            .push((Phase::Drain, "http: GET / for 3.0s".to_owned()));
        assert_eq!(verdict.exit_code(), 75);
    }
}
