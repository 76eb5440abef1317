//! What the probes answer, from memory.

mod line;
mod routes;

use std::sync::Arc;

use serde_json::Map;
use tokio::time::Instant;

use self::line::Line;
use crate::context::Context;
use crate::health::{ProbePaths, Registry, Report};
use crate::lifecycle::{Progress, State, Watch};

/// Answers the probes. Cheap to clone.
#[derive(Clone)]
pub struct Probes {
    lifecycle: Watch,
    health: Registry,
    progress: Progress,
    paths: Arc<ProbePaths>,
}

/// A question that a platform asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Live,
    Ready,
    Started,
}

impl Probe {
    pub(super) const ALL: [Self; 3] = [Self::Live, Self::Ready, Self::Started];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Started => "startupz",
        }
    }
}

impl Probes {
    /// Probes of the service of `cx`, which starts as `progress` says.
    pub fn new(cx: &Context, progress: &Progress) -> Self {
        Self {
            lifecycle: cx.lifecycle().clone(),
            health: cx.health().clone(),
            progress: progress.clone(),
            paths: Arc::default(),
        }
    }

    /// Answers under these paths too. They must be valid: see [`HealthSettings::problems`](crate::health::HealthSettings).
    #[must_use]
    pub fn with_paths(mut self, paths: ProbePaths) -> Self {
        self.paths = Arc::new(paths);
        self
    }

    /// The other paths of the probes.
    pub(crate) fn paths(&self) -> &ProbePaths {
        &self.paths
    }

    /// `readyz`: the service is ready, neither starting nor draining, and every check that counts works.
    pub fn is_ready(&self) -> bool {
        self.lifecycle.state() == State::Ready && self.health.report().is_ready()
    }

    /// `livez`: no loop of this process is stuck. Never looks at a dependency.
    pub fn is_alive(&self) -> bool {
        self.health.report().is_alive()
    }

    /// `/health` of the application listener: alive, and not on its way out.
    pub fn is_serving(&self) -> bool {
        self.lifecycle.state() < State::Draining && self.is_alive()
    }

    pub(super) fn state(&self) -> State {
        self.lifecycle.state()
    }

    pub(super) fn report(&self) -> Report {
        self.health.report()
    }

    /// Everything `probe` looks at.
    fn ask(&self, probe: Probe) -> Vec<Line> {
        let state = self.lifecycle.state();
        match probe {
            Probe::Live => {
                let mut lines = vec![Line::state(true, state)];
                lines.extend(self.health.report().pulses.iter().map(Line::pulse));
                lines
            }
            Probe::Ready => {
                let mut lines = vec![Line::state(state == State::Ready, state)];
                lines.extend(self.health.report().checks.iter().map(Line::check));
                lines
            }
            Probe::Started => {
                let mut lines = vec![Line::state(state >= State::Ready, state)];
                if state < State::Ready {
                    lines.extend(self.progress.waiting().map(|waiting| {
                        let waited = Instant::now().saturating_duration_since(waiting.since);
                        let mut text = format!("waiting for {:.1}s", waited.as_secs_f64());
                        if let Some(reason) = &waiting.reason {
                            text = format!("{text}, {} attempts: {reason}", waiting.attempts);
                        }
                        Line {
                            name: waiting.component,
                            well: false,
                            counts: true,
                            text,
                            data: Map::new(),
                        }
                    }));
                }
                lines
            }
        }
    }
}
