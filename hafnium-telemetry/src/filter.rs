//! What is logged, and how that is changed at run time.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::reload;

use crate::error::TelemetryError;
use crate::settings::TelemetrySettings;

/// The exporters' own warnings come with each batch; [`Delivery`](crate::delivery) says the same once.
const DEFAULT: &str = "info,opentelemetry=error";

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// A filter that was read and is not in force yet.
pub(crate) struct Parsed {
    text: String,
    filter: EnvFilter,
}

/// The filter in force. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFilter {
    text: Arc<Mutex<String>>,
    reload: Arc<Reload>,
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
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, text: &str) -> Result<String, TelemetryError> {
        let parsed = Self::parse(Some(text))?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        (self.reload)(parsed.filter).map_err(|error| TelemetryError::Setup {
            reason: format!("the log filter can't be changed: {error}"),
        })?;
        Ok(std::mem::replace(&mut *current, parsed.text))
    }
}

impl Parsed {
    /// The filter for a layer, and the handle that changes it.
    pub(crate) fn reloadable<S: Subscriber + 'static>(self) -> (impl Filter<S> + 'static, LogFilter) {
        let (filter, handle) = reload::Layer::<EnvFilter, S>::new(self.filter);
        let reload: Reload = Box::new(move |filter| handle.reload(filter));
        let filter_handle = LogFilter {
            text: Arc::new(Mutex::new(self.text)),
            reload: Arc::new(reload),
        };
        (filter, filter_handle)
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
