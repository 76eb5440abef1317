//! What is logged, and how that is changed at run time.

mod replaceable;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::EnvFilter;

pub(crate) use self::replaceable::Replaceable;

use crate::error::TelemetryError;
use crate::settings::TelemetrySettings;

/// The exporters' own warnings come with each batch; [`Delivery`](crate::delivery) says the same once.
const DEFAULT: &str = "info,opentelemetry=error";

/// A filter that was read and is not in force yet.
pub(crate) struct Parsed {
    text: String,
    filter: EnvFilter,
}

/// What is in force, and what the configuration says.
struct Held {
    current: String,
    configured: String,
    /// What was configured when something else came into force: to set it again is to go back to the configuration.
    instead_of: Option<String>,
}

/// The filter in force. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFilter {
    held: Arc<Mutex<Held>>,
    filter: Replaceable,
}

impl LogFilter {
    /// Reads `text`, or takes the default.
    pub(crate) fn parse(text: Option<&str>) -> Result<Parsed, TelemetryError> {
        let text = text
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .unwrap_or(DEFAULT);
        Ok(Parsed {
            text: text.to_owned(),
            filter: read(text)?,
        })
    }

    pub(crate) fn current(&self) -> String {
        self.held().current.clone()
    }

    /// Logs by `text` from now on, whatever the configuration says; returns what was in force. The filter that was
    /// configured at the time of the first change stands for the one that is configured now.
    pub(crate) fn set(&self, text: &str) -> Result<String, TelemetryError> {
        let mut held = self.held();
        let back = held.instead_of.as_deref() == Some(text.trim()) || held.configured == text.trim();
        let parsed = match back {
            true => Self::parse(Some(&held.configured))?,
            false => Self::parse(Some(text))?,
        };
        self.filter.replace(parsed.filter, &parsed.text);
        held.instead_of = match (back, held.instead_of.take()) {
            (true, _) => None,
            (false, None) => Some(held.configured.clone()),
            (false, known) => known,
        };
        Ok(std::mem::replace(&mut held.current, parsed.text))
    }

    /// Logs by what the configuration says now, or once what is in force instead of it is taken back.
    pub(crate) fn configure(&self, text: Option<&str>) -> Result<(), TelemetryError> {
        let parsed = Self::parse(text)?;
        let mut held = self.held();
        held.configured.clone_from(&parsed.text);
        if held.instead_of.is_none() {
            self.filter.replace(parsed.filter, &parsed.text);
            held.current = parsed.text;
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parsed {
    /// The filter for a layer, and the handle that changes it.
    pub(crate) fn reloadable(self) -> (Replaceable, LogFilter) {
        let filter = Replaceable::new(self.filter, &self.text);
        let handle = LogFilter {
            held: Arc::new(Mutex::new(Held {
                current: self.text.clone(),
                configured: self.text,
                instead_of: None,
            })),
            filter: filter.clone(),
        };
        (filter, handle)
    }
}

impl TelemetrySettings {
    /// Whether the log filter can be read, before anything takes it.
    ///
    /// # Errors
    /// [`TelemetryError::LogFilter`] when not.
    pub fn check_filter(&self) -> Result<(), TelemetryError> {
        LogFilter::parse(self.log_filter.as_deref()).map(drop)
    }
}

fn read(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(text).map_err(|error| TelemetryError::LogFilter {
        filter: text.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> (impl Sized, LogFilter) {
        LogFilter::parse(Some(text)).unwrap().reloadable()
    }

    #[test]
    fn what_is_configured_meanwhile_waits_until_a_change_is_taken_back() {
        let (_layer, filter) = filter("info");
        assert_eq!(filter.set("debug").unwrap(), "info");
        filter.configure(Some("warn")).unwrap();
        assert_eq!(filter.current(), "debug");
        // Who takes the change back knows only what was in force before it.
        assert_eq!(filter.set("info").unwrap(), "debug");
        assert_eq!(filter.current(), "warn");
        filter.configure(Some("error")).unwrap();
        assert_eq!(filter.current(), "error");
    }

    #[test]
    fn without_a_change_the_configured_filter_is_in_force_at_once_and_none_is_the_default() {
        let (_layer, filter) = filter("info");
        filter.configure(Some("warn,sqlx=debug")).unwrap();
        assert_eq!(filter.current(), "warn,sqlx=debug");
        filter.configure(None).unwrap();
        assert_eq!(filter.current(), DEFAULT);
        assert!(filter.configure(Some("info,[")).is_err());
        assert_eq!(filter.current(), DEFAULT);
    }
}
