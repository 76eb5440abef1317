//! What happens when librdkafka reports on a record.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};
use tokio::sync::oneshot;

use super::credit::Credit;
use super::error::SendError;
use super::message::Delivery;
use super::topics::Topic;
use crate::trouble::Trouble;

/// A record under way: who waits for it, and the room that it takes.
pub(crate) struct Pending {
    pub(crate) reply: oneshot::Sender<Result<Delivery, SendError>>,
    pub(crate) credit: Credit,
    pub(crate) topic: Arc<Topic>,
}

/// Serves the reports, on the producer's polling thread.
pub(crate) struct Deliveries {
    pub(crate) trouble: Arc<Trouble>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.error(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, report: &DeliveryResult<'_>, pending: Box<Pending>) {
        let Pending { reply, credit, topic } = *pending;
        let result = match report {
            Ok(message) => Ok(Delivery {
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, message)) => Err(SendError::native(message.topic(), error)),
        };
        topic.arrived();
        drop(credit);
        // Nobody may be waiting any more; the record is where it is all the same.
        let _ = reply.send(result);
    }
}
