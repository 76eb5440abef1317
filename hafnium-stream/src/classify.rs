//! What librdkafka's errors say about a record that was to be sent.

use hafnium_core::{Classified, Fault, Outcome};
use rdkafka::error::RDKafkaErrorCode as Code;

/// The answer for the code of a failed produce.
///
/// Environment faults (no topic, no permission) count as retryable: the record is well, and giving up on it at the
/// first failure would turn one missing topic into a heap of dead letters.
pub(crate) fn classify(code: Code) -> Classified {
    let not_run = |retryable, fault, name| Classified::new(Outcome::NotRun, retryable, fault, name);
    let unknown = |name| Classified::new(Outcome::Unknown, false, Fault::Dependency, name);
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            not_run(false, Fault::Caller, "kafka.too_large")
        }
        Code::InvalidRecord | Code::InvalidMessage | Code::InvalidTimestamp | Code::InvalidArgument => {
            not_run(false, Fault::Caller, "kafka.invalid_record")
        }
        Code::InvalidTopic => not_run(false, Fault::Caller, "kafka.invalid_topic"),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            not_run(true, Fault::Service, "kafka.unknown_topic")
        }
        Code::UnknownPartition => not_run(true, Fault::Service, "kafka.unknown_partition"),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            not_run(true, Fault::Service, "kafka.not_authorized")
        }
        Code::QueueFull => not_run(true, Fault::Capacity, "kafka.queue_full"),
        Code::NotEnoughReplicas => not_run(true, Fault::Dependency, "kafka.not_enough_replicas"),
        Code::NotEnoughReplicasAfterAppend => unknown("kafka.not_enough_replicas_after_append"),
        // Local queues are purged with this code, and so are the requests that wait for another try after they were
        // sent once without an answer (librdkafka's retry buffers): nothing tells the two apart.
        Code::PurgeQueue => Classified::new(Outcome::Unknown, false, Fault::Service, "kafka.stopped"),
        Code::PurgeInflight => unknown("kafka.stopped_in_flight"),
        // It may have timed out in the queue or on the wire.
        Code::MessageTimedOut => unknown("kafka.message_timed_out"),
        Code::RequestTimedOut => unknown("kafka.request_timed_out"),
        Code::BrokerTransportFailure | Code::NetworkException => unknown("kafka.transport"),
        Code::Fatal
        | Code::OutOfOrderSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::ProducerFenced
        | Code::InvalidProducerIdMapping
        | Code::GaplessGuarantee => unknown("kafka.fatal"),
        _ => unknown("kafka.other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_core::Classify;

    #[test]
    fn what_may_have_been_appended_is_never_called_not_run() {
        for code in [
            Code::MessageTimedOut,
            Code::PurgeQueue,
            Code::PurgeInflight,
            Code::NotEnoughReplicasAfterAppend,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::Unknown,
        ] {
            let answer = classify(code);
            assert_eq!(answer.outcome(), Outcome::Unknown, "{code:?}");
            assert!(!answer.retryable(), "{code:?}");
        }
    }

    #[test]
    fn an_oversized_record_is_the_callers_fault_and_a_missing_topic_is_not() {
        assert_eq!(classify(Code::MessageSizeTooLarge).fault(), Fault::Caller);
        assert!(classify(Code::UnknownTopic).retryable());
    }
}
