//! Topics.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;

use super::cluster::KafkaCluster;
use crate::Error;
use crate::process::wait_until;

/// A topic is there after 0.1 s; while a controller is being elected it takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// One question to the controller. A broker that is frozen leaves it unanswered, and another one is asked next.
const TRY: Duration = Duration::from_secs(5);

impl KafkaCluster {
    /// Creates a topic, replicated to all brokers (at most three), and waits until every running broker's metadata has all of
    /// its partitions in sync: a new topic is not known everywhere at once. One that exists already is waited for.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's answer, [`Error::NotReady`] after 30 s.
    pub async fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
        let doing = || format!("create the topic {name}");
        let count = i32::try_from(partitions).map_err(|error| Error::refused(doing(), error))?;
        let replication = i32::try_from(self.brokers.len().min(3)).unwrap_or(3);
        let topic = NewTopic::new(name, count, TopicReplication::Fixed(replication));
        let what = format!("the topic {name}");
        let created = wait_until(&what, LIMIT, || async {
            match self.admin.create_topics([&topic], &options()).await {
                Ok(results) => match results.into_iter().next() {
                    None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Ok(())),
                    Some(Err((_, code))) if passing(code) => Err(code.to_string()),
                    Some(Err((_, code))) => Ok(Err(Error::refused(doing(), code))),
                },
                Err(error) => Err(error.to_string()),
            }
        });
        created.await??;
        self.await_in_sync(name, partitions).await
    }

    /// Deletes a topic and waits until no running broker knows it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's answer, [`Error::NotReady`] after 30 s.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let doing = || format!("delete the topic {name}");
        let results = self
            .admin
            .delete_topics(&[name], &options())
            .await
            .map_err(|error| Error::refused(doing(), error))?;
        for result in results {
            result.map_err(|(_, code)| Error::refused(doing(), code))?;
        }
        wait_until(&format!("{name} to be gone"), LIMIT, || async {
            for view in self.views().await {
                if view?.topics.contains_key(name) {
                    return Err("a broker still knows it".into());
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits until every running broker's metadata says that the topic has `partitions` partitions and every replica of each
    /// is in sync.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 30 s.
    pub async fn await_in_sync(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        wait_until(&format!("{topic} to be in sync"), LIMIT, || async {
            for view in self.views().await {
                let view = view?;
                let states = view.topics.get(topic).map_or(&[][..], Vec::as_slice);
                if states.len() != count {
                    return Err(format!("a broker knows {} partitions", states.len()));
                }
                if let Some(state) = states.iter().find(|state| !state.is_in_sync()) {
                    return Err(format!("partition {}: {state}", state.partition));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Answers that another try may change: a broker that is frozen was asked, a controller is being elected, or a broker that
/// has just come up may not lead yet.
fn passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::NotController
            | Code::BrokerNotAvailable
            | Code::InvalidReplicationFactor
    )
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TRY))
        .operation_timeout(Some(TRY))
}
