//! What librdkafka complains of, outside of any call.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The last complaint of one native client. A refused password, for one, shows in calls only as a transport failure;
/// its reason comes here.
pub(crate) struct Trouble {
    client: String,
    last: Mutex<Option<String>>,
}

impl Trouble {
    pub(crate) fn new(client: String) -> Self {
        Self {
            client,
            last: Mutex::new(None),
        }
    }

    /// The last reason, if there was one.
    pub(crate) fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(client = self.client, %error, reason, "librdkafka reports an error");
        // It follows the errors of the single brokers and says less than they do.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    /// A lost connection is an error to librdkafka and everyday life to a cluster; whoever is affected says so itself.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(client = self.client, facility, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(client = self.client, facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(client = self.client, facility, "{message}");
            }
        }
    }
}
