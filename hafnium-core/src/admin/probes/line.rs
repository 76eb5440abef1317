//! One thing that a probe looked at, and how it is shown to machines and people.

use serde_json::{Map, Value, json};

use crate::health::{CheckReport, Health, PulseReport};
use crate::lifecycle::State;

/// The name under which the state of the service itself is listed beside the checks.
const LIFECYCLE: &str = "lifecycle";

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

impl Line {
    pub(super) fn state(well: bool, state: State) -> Self {
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

    pub(super) fn pulse(pulse: &PulseReport) -> Self {
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

    pub(super) fn check(check: &CheckReport) -> Self {
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
