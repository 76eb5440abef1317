//! Another broker leads.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::cluster::KafkaCluster;
use super::partition::PartitionState;
use crate::Error;
use crate::process::wait_until;

/// The session timeout of 3 s, and an election of the controller first when that died as well.
const LIMIT: Duration = Duration::from_secs(30);

/// A partition has another leader in a higher epoch, and the old one counts no more.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Election {
    /// The topic.
    pub topic: String,
    /// The partition before.
    pub before: PartitionState,
    /// The partition now; the old leader is not in sync.
    pub after: PartitionState,
    /// From the call until the brokers' metadata said so.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

impl KafkaCluster {
    /// Waits until a partition is led by another broker than in `before`, in a higher epoch, with the old leader out of the
    /// set of replicas in sync. Up to 30 s. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::NotReady`] with the state that was seen last.
    pub async fn wait_for_new_leader(
        &self,
        topic: &str,
        partition: i32,
        before: &PartitionState,
    ) -> Result<Election, Error> {
        let start = Instant::now();
        let old = before.leader()?;
        let what = format!("another leader of {topic}/{partition} than broker {old}");
        wait_until(&what, LIMIT, || async {
            let after = self.look(topic, partition).await?;
            let moved = after.leader.is_some_and(|leader| leader != old);
            if !moved || after.epoch <= before.epoch || after.in_sync.contains(&old) {
                return Err(after.to_string());
            }
            Ok(Election {
                topic: topic.to_owned(),
                before: before.clone(),
                after,
                took: start.elapsed(),
            })
        })
        .await
    }
}

impl fmt::Display for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}: {} → {}, after {} ms",
            self.topic,
            self.before.partition,
            self.before,
            self.after,
            self.took.as_millis()
        )
    }
}

pub(super) fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1e3)
}
