//! Three brokers of a real Apache Kafka (or one), and a reader that belongs to no client under test.
//!
//! ```no_run
//! # async fn example() -> Result<(), hafnium_testkit::Error> {
//! use hafnium_testkit::kafka::KafkaCluster;
//!
//! let cluster = KafkaCluster::start().await?;
//! cluster.create_topic("payments", 3).await?;
//!
//! let before = cluster.partition("payments", 0).await?;
//! let killed = cluster.kill9(before.leader()?).await?;
//! let election = cluster.wait_for_new_leader("payments", 0, &before).await?;
//! let restart = cluster.restart(killed.broker).await?;
//! println!("{killed}\n{election}\n{restart}");
//! # Ok(())
//! # }
//! ```
//!
//! Needs `java` (17 or newer) and the jars that `scripts/fetch-kafka` brings (`KAFKA_VERSION` chooses a
//! release, `HAFNIUM_KAFKA_HOME` a directory). The brokers run with small heaps and the
//! first compiler tier only: they start and elect quickly on two cores, and are no measure of Kafka's throughput.

mod bringup;
mod broker;
mod cluster;
mod election;
mod fault;
mod home;
mod membership;
mod metadata;
mod partition;
mod properties;
mod reader;
mod topic;

pub use cluster::KafkaCluster;
pub use election::Election;
pub use fault::{Frozen, Killed};
pub use membership::Rejoined;
pub use partition::PartitionState;
pub use reader::{Isolation, StoredRecord, read_topic};
