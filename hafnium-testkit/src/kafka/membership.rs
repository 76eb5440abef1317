//! Brokers that come, come back, and catch up.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::cluster::KafkaCluster;
use crate::Error;
use crate::process::{Process, ProcessId, await_ready};

/// Three Java processes need 3 s on two idle cores.
const READY: Duration = Duration::from_secs(60);

/// A broker is back, and holds everything that it shall hold.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Rejoined {
    /// Its id.
    pub broker: i32,
    /// Its process.
    pub process: ProcessId,
    /// Partitions that were seen in sync, all there are.
    pub partitions: usize,
    /// From the call until every partition was in sync.
    #[serde(rename = "took_ms", serialize_with = "super::election::milliseconds")]
    pub took: Duration,
}

impl KafkaCluster {
    /// Starts a killed broker again on its old data, and waits until every partition of every topic has all its replicas in
    /// sync that run: 4–8 s.
    ///
    /// # Errors
    /// [`Error::Refused`] while it runs, [`Error::Ended`] or [`Error::NotReady`] after 60 s.
    pub async fn restart(&self, broker: i32) -> Result<Rejoined, Error> {
        let start = Instant::now();
        self.broker(broker)?.start_again()?;
        self.rejoined(broker, start).await
    }

    /// Lets a frozen broker run again, and waits as [`restart`](Self::restart) does.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 60 s.
    pub async fn thaw(&self, broker: i32) -> Result<Rejoined, Error> {
        let start = Instant::now();
        self.broker(broker)?.process().thaw();
        self.rejoined(broker, start).await
    }

    async fn rejoined(&self, broker: i32, start: Instant) -> Result<Rejoined, Error> {
        let process = self.broker(broker)?.process();
        let what = format!("broker {broker} to be in sync everywhere");
        let partitions = await_ready(&[&process], &what, READY, || async {
            self.listed_everywhere(broker).await?;
            self.all_in_sync().await
        })
        .await?;
        Ok(Rejoined {
            broker,
            process: process.id(),
            partitions,
            took: start.elapsed(),
        })
    }

    /// Waits until every broker lists all brokers.
    pub(super) async fn await_members(&self) -> Result<(), Error> {
        let all = self.brokers();
        let processes: Vec<_> = self.brokers.iter().map(|broker| broker.process()).collect();
        let processes: Vec<&Process> = processes.iter().map(AsRef::as_ref).collect();
        let what = format!("{} brokers that list each other", all.len());
        await_ready(&processes, &what, READY, || async {
            for broker in &self.brokers {
                let listed = broker.metadata().await?.brokers;
                if listed != all {
                    return Err(format!("broker {} lists {listed:?}", broker.id));
                }
            }
            Ok(())
        })
        .await
    }

    async fn listed_everywhere(&self, broker: i32) -> Result<(), String> {
        for view in self.views().await {
            let listed = view?.brokers;
            if !listed.contains(&broker) {
                return Err(format!("a broker lists {listed:?}"));
            }
        }
        Ok(())
    }

    /// Every partition that any running broker knows has all its running replicas in sync, in every running broker's view.
    async fn all_in_sync(&self) -> Result<usize, String> {
        let running: Vec<i32> = self.running().iter().map(|broker| broker.id).collect();
        let mut count = 0;
        for view in self.views().await {
            let view = view?;
            count = view.topics.values().map(Vec::len).sum();
            for (topic, states) in &view.topics {
                let behind = states.iter().find(|state| {
                    let missing = |id: &i32| running.contains(id) && !state.in_sync.contains(id);
                    state.leader.is_none() || state.replicas.iter().any(missing)
                });
                if let Some(state) = behind {
                    return Err(format!("{topic}/{}: {state}", state.partition));
                }
            }
        }
        Ok(count)
    }
}

impl fmt::Display for Rejoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "broker {} (pid {}) is back, all {} partitions in sync after {} ms",
            self.broker,
            self.process.pid,
            self.partitions,
            self.took.as_millis()
        )
    }
}
