//! Topics: whether one exists, and making one like another.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use tokio::time::Instant;

use crate::kafka::Cluster;
use crate::native;
use crate::producer::State;

/// How long one call to a broker may take.
const CALL: Duration = Duration::from_secs(5);
/// Between two looks for a new topic.
const LOOK: Duration = Duration::from_millis(50);

/// How many partitions `topic` has, each with a leader; `None` when it does not exist. Blocks.
fn partitions(cluster: &Cluster, topic: &str) -> Result<Option<usize>, String> {
    let State::Running(native) = cluster.link.state() else {
        return Err("the producer does not run".into());
    };
    let metadata = native
        .client()
        .fetch_metadata(Some(topic), CALL)
        .map_err(|error| error.to_string())?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
        Some(code) => return Err(code.to_string()),
    }
    if found.partitions().iter().any(|partition| partition.leader() < 0) {
        return Err(format!("{topic} has a partition without a leader"));
    }
    Ok(Some(found.partitions().len()))
}

/// Whether `topic` exists. Blocks.
pub(crate) fn exists(cluster: &Cluster, topic: &str) -> Result<bool, String> {
    partitions(cluster, topic).map(|found| found.is_some())
}

/// On a thread for blocking calls, which outlives the runtime's timers.
fn pause() {
    std::thread::sleep(LOOK);
}

/// Makes `topic` with as many partitions as `like`, replicated as the brokers are set up to. Blocks until every
/// partition has a leader, for at most about 15 s.
pub(crate) fn create_like(cluster: &Cluster, topic: &str, like: &str) -> Result<(), String> {
    let count = partitions(cluster, like)?.ok_or_else(|| format!("{like} does not exist yet"))?;
    let count = i32::try_from(count).unwrap_or(1);
    let admin: AdminClient<DefaultClientContext> = native::admin(&cluster.settings, &cluster.client_id)
        .create()
        .map_err(|error| error.to_string())?;
    let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1));
    let options = AdminOptions::new()
        .request_timeout(Some(CALL))
        .operation_timeout(Some(CALL));
    let runtime = tokio::runtime::Handle::current();
    let results = runtime
        .block_on(admin.create_topics([&new], &options))
        .map_err(|error| error.to_string())?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(format!("{topic} can't be created: {code}")),
        }
    }
    // A new topic is not in every broker's metadata at once.
    let begun = Instant::now();
    loop {
        match partitions(cluster, topic) {
            Ok(Some(_)) => return Ok(()),
            _ if begun.elapsed() < CALL => pause(),
            Ok(None) => return Err(format!("{topic} was created and is not seen yet")),
            Err(reason) => return Err(reason),
        }
    }
}
