//! The two forms of a line.

use tracing::Metadata;

use super::fields::{EventFields, Value};
use super::trace_context::TraceContext;
use super::{human, json};
use crate::resource::Identity;

/// The form of a log line.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    /// One JSON object.
    Json {
        /// The encoded members that are the same in every line.
        service: String,
    },
    /// For people.
    Human {
        /// Whether the terminal shows colours.
        colour: bool,
    },
}

impl Format {
    /// JSON lines of that process.
    pub(crate) fn json(identity: &Identity) -> Self {
        let mut service = String::new();
        for key in ["service.name", "service.version", "service.instance.id"] {
            json::member(&mut service, key, Value::Str(identity.get(key)));
        }
        Self::Json { service }
    }

    /// Lines for people.
    pub(crate) fn human(colour: bool) -> Self {
        Self::Human { colour }
    }

    /// What stands before the value of a field of that name.
    pub(super) fn key(&self, name: &str) -> Box<str> {
        let mut out = String::new();
        match self {
            Self::Json { .. } => json::key(&mut out, name),
            Self::Human { colour } => human::key(&mut out, name, *colour),
        }
        out.into_boxed_str()
    }

    /// Appends the value of a field.
    pub(super) fn value(&self, out: &mut String, value: Value<'_>) {
        match self {
            Self::Json { .. } => json::value(out, value),
            Self::Human { .. } => human::value(out, value),
        }
    }

    /// Begins a line: everything up to the fields of the event.
    pub(super) fn open(&self, line: &mut String, metadata: &Metadata<'_>, event: &EventFields) {
        match self {
            Self::Json { .. } => json::open(line, metadata, event),
            Self::Human { colour } => human::open(line, metadata, event, *colour),
        }
    }

    /// Ends a line.
    pub(super) fn close(&self, line: &mut String, trace: &TraceContext) {
        match self {
            Self::Json { service } => json::close(line, trace, service),
            Self::Human { colour } => human::close(line, trace, *colour),
        }
    }
}
