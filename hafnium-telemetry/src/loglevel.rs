//! The log filter as the operator listener changes it.

use hafnium_core::admin::LogFilter;

use crate::telemetry::Telemetry;

impl LogFilter for Telemetry {
    fn current(&self) -> String {
        self.log_filter()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        self.set_log_filter(filter)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
