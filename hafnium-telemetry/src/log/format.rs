//! The two forms of a line.

use tracing::Metadata;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

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

    /// Appends one field.
    pub(super) fn field(&self, out: &mut String, name: &str, value: Value<'_>) {
        match self {
            Self::Json { .. } => json::field(out, name, value),
            Self::Human { colour } => human::field(out, name, value, *colour),
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

/// Appends the present instant as RFC 3339 in UTC, with microseconds.
pub(super) fn timestamp(out: &mut String) {
    // Writing to a String can't fail.
    let _ = SystemTime.format_time(&mut Writer::new(out));
}
