//! What the probes answer, from memory.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::context::Context;
use crate::health::{CheckReport, Health, PulseReport, Registry, Report};
use crate::lifecycle::{Progress, State, Watch};

/// The name under which the state of the service itself is listed beside the checks.
pub(super) const LIFECYCLE: &str = "lifecycle";

/// Answers the probes. Cheap to clone.
#[derive(Clone)]
pub struct Probes {
    lifecycle: Watch,
    health: Registry,
    progress: Progress,
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

/// One thing that a probe looked at.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// It is well.
    pub(super) well: bool,
    /// It can make the probe fail.
    pub(super) counts: bool,
    /// Why it is not well, or what is notable although it is.
    pub(super) text: String,
    pub(super) data: Map<String, Value>,
}

impl Probes {
    /// Probes of the service of `cx`, which starts as `progress` says.
    pub fn new(cx: &Context, progress: &Progress) -> Self {
        Self {
            lifecycle: cx.lifecycle().clone(),
            health: cx.health().clone(),
            progress: progress.clone(),
        }
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
    pub(super) fn ask(&self, probe: Probe) -> Vec<Line> {
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

impl Line {
    fn state(well: bool, state: State) -> Self {
        let mut data = Map::new();
        data.insert("state".to_owned(), state.as_str().into());
        Self {
            name: LIFECYCLE.to_owned(),
            well,
            counts: true,
            text: if well {
                String::new()
            } else {
                state.as_str().to_owned()
            },
            data,
        }
    }

    fn pulse(pulse: &PulseReport) -> Self {
        let well = pulse.is_alive();
        let silent = pulse.silent.as_secs_f64();
        Self {
            name: pulse.name.clone(),
            well,
            counts: true,
            text: if well {
                String::new()
            } else {
                format!("silent for {silent:.1}s, more than {:?}", pulse.limit)
            },
            data: Map::new(),
        }
    }

    fn check(check: &CheckReport) -> Self {
        let mut data = Map::new();
        data.insert("health".to_owned(), check.health.as_str().into());
        data.insert("counts".to_owned(), check.counts.into());
        if !check.explanation().is_empty() {
            data.insert("reason".to_owned(), check.explanation().into());
        }
        let state = match check.health {
            Health::Degraded => "degraded: ",
            Health::Up if check.failures > 0 => "failing: ",
            _ => "",
        };
        Self {
            name: check.name.clone(),
            well: check.health.is_working(),
            counts: check.counts,
            text: format!("{state}{}", check.explanation()),
            data,
        }
    }

    /// Whether this alone lets the probe succeed.
    pub(super) fn passes(&self) -> bool {
        self.well || !self.counts
    }

    /// `[+]name ok` or `[-]name failed: reason`, as operators know it from Kubernetes' own servers.
    pub(super) fn verbose(&self) -> String {
        let Self { name, text, .. } = self;
        match (self.well, text.is_empty()) {
            (true, true) => format!("[+]{name} ok\n"),
            (true, false) => format!("[+]{name} ok ({text})\n"),
            (false, _) if self.counts => format!("[-]{name} failed: {text}\n"),
            (false, _) => format!("[-]{name} failed: {text} (informational)\n"),
        }
    }

    /// The MicroProfile shape of one check.
    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "status": up(self.well), "data": self.data })
    }
}

/// `UP` or `DOWN`.
pub(super) fn up(well: bool) -> &'static str {
    if well { "UP" } else { "DOWN" }
}
