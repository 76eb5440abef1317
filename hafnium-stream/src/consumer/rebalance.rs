//! Rebalances: noted where librdkafka reports them, served by the polling thread when it is ready to.
//!
//! librdkafka reports within `poll` and waits for `incremental_unassign` however long that takes, while the poll goes
//! on. So a revoked partition can finish what it holds without holding up the thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::trouble::Trouble;

/// What was decided about partitions.
pub(crate) enum Rebalance {
    /// They are ours now.
    Assigned(TopicPartitionList),
    /// They are to be given back, or (`lost`) belong to someone else already.
    Revoked {
        partitions: TopicPartitionList,
        lost: bool,
    },
}

/// Serves librdkafka's callbacks, all of them on the polling thread.
pub(crate) struct Callbacks {
    trouble: Arc<Trouble>,
    noted: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl Callbacks {
    pub(crate) fn new(trouble: Arc<Trouble>) -> Self {
        Self {
            trouble,
            noted: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The next decision to serve.
    pub(crate) fn next(&self) -> Option<Rebalance> {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// From now on partitions are given back as soon as that is asked: everything was finished or handed back.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.error(&error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let note = |rebalance| {
            self.noted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(rebalance)
        };
        let answered = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            note(Rebalance::Assigned(partitions.clone()));
            consumer.incremental_assign(partitions)
        } else if self.closing.load(Ordering::Acquire) {
            consumer.incremental_unassign(partitions)
        } else {
            note(Rebalance::Revoked {
                partitions: partitions.clone(),
                lost: consumer.assignment_lost(),
            });
            Ok(())
        };
        if let Err(error) = answered {
            tracing::error!(%error, "a rebalance could not be answered");
        }
    }
}
