//! The cluster: its addresses, its processes, what its brokers say.

use std::fmt;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use super::broker::Broker;
use super::metadata::Metadata;
use super::partition::PartitionState;
use crate::Error;
use crate::process::{ProcessId, ProcessState};

/// Brokers of a real Kafka in KRaft mode, each one a controller as well. All of them end when it is dropped.
///
/// Brokers are called by their Kafka id: 1, 2, 3.
pub struct KafkaCluster {
    pub(super) brokers: Vec<Broker>,
    pub(super) admin: AdminClient<DefaultClientContext>,
}

impl KafkaCluster {
    /// `host:port,host:port,host:port`.
    pub fn bootstrap(&self) -> String {
        bootstrap(&self.brokers)
    }

    /// The ids of all brokers, whether they run or not.
    pub fn brokers(&self) -> Vec<i32> {
        self.brokers.iter().map(|broker| broker.id).collect()
    }

    /// `127.0.0.1:port` of one broker, the same over restarts.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such broker.
    pub fn address(&self, broker: i32) -> Result<String, Error> {
        Ok(format!("127.0.0.1:{}", self.broker(broker)?.port))
    }

    /// State of one broker's process.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such broker.
    pub fn state(&self, broker: i32) -> Result<ProcessState, Error> {
        Ok(self.broker(broker)?.state())
    }

    /// Every process there is, also those of descendants.
    pub fn processes(&self) -> Vec<ProcessId> {
        self.brokers
            .iter()
            .flat_map(|broker| broker.process().tree())
            .collect()
    }

    /// The last lines of one broker's log (warnings and errors only).
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such broker.
    pub fn log_tail(&self, broker: i32) -> Result<String, Error> {
        Ok(self.broker(broker)?.process().log_tail())
    }

    /// The state of a partition: of the running brokers' views the one with the highest epoch, since a broker that is cut off
    /// keeps an old one.
    ///
    /// # Errors
    /// [`Error::Refused`] when no running broker knows the partition.
    pub async fn partition(&self, topic: &str, partition: i32) -> Result<PartitionState, Error> {
        self.look(topic, partition)
            .await
            .map_err(|answer| Error::refused(format!("look at {topic}/{partition}"), answer))
    }

    /// The id of the broker that leads a partition.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no leader.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        self.partition(topic, partition).await?.leader()
    }

    /// The epoch of that leader: it rises with every election.
    ///
    /// # Errors
    /// [`Error::Refused`] when no running broker knows the partition.
    pub async fn leader_epoch(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        Ok(self.partition(topic, partition).await?.epoch)
    }

    pub(super) async fn look(&self, topic: &str, partition: i32) -> Result<PartitionState, String> {
        let views = self.views().await;
        let known = views.iter().flatten().filter_map(|view| {
            let states = view.topics.get(topic)?;
            states.iter().find(|state| state.partition == partition)
        });
        match known.max_by_key(|state| state.epoch) {
            Some(state) => Ok(state.clone()),
            None => {
                let silent: Vec<_> = views.iter().filter_map(|view| view.as_ref().err()).collect();
                Err(format!("no running broker knows it {silent:?}"))
            }
        }
    }

    /// What each broker whose process is neither frozen nor gone says.
    pub(super) async fn views(&self) -> Vec<Result<Metadata, String>> {
        let running = self.running();
        futures_util::future::join_all(running.iter().map(|broker| broker.metadata())).await
    }

    pub(super) fn running(&self) -> Vec<&Broker> {
        let alive = |broker: &&Broker| broker.state() == ProcessState::Alive;
        self.brokers.iter().filter(alive).collect()
    }

    pub(super) fn broker(&self, id: i32) -> Result<&Broker, Error> {
        self.brokers.iter().find(|broker| broker.id == id).ok_or_else(|| {
            Error::refused(
                format!("find broker {id}"),
                format!("there are {:?}", self.brokers()),
            )
        })
    }
}

pub(super) fn bootstrap(brokers: &[Broker]) -> String {
    let addresses: Vec<_> = brokers
        .iter()
        .map(|broker| format!("127.0.0.1:{}", broker.port))
        .collect();
    addresses.join(",")
}

impl fmt::Debug for KafkaCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCluster")
            .field("bootstrap", &self.bootstrap())
            .finish_non_exhaustive()
    }
}
