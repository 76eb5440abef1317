//! From nothing to brokers that take a topic.

use std::time::Duration;

use futures_util::future::try_join_all;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use super::broker::{Broker, java, properties_file};
use super::cluster::KafkaCluster;
use super::home::KafkaHome;
use super::properties::{LOG4J, LOG4J2, Ports, properties};
use crate::Error;
use crate::process::{Keeper, free_ports};

/// Formatting takes a second; a machine under load gets the rest.
const FORMAT: Duration = Duration::from_secs(60);

/// Created and deleted again.
const READY: &str = "hafnium-testkit-ready";

impl KafkaCluster {
    /// Three brokers: replication 3, `min.insync.replicas` 2. Ready when each lists all three and a topic is in sync on all of
    /// them: 5–10 s on two cores.
    ///
    /// # Errors
    /// [`Error::Missing`] without Kafka or Java, [`Error::Ended`] or [`Error::NotReady`] when one does not come up.
    pub async fn start() -> Result<KafkaCluster, Error> {
        KafkaCluster::with_brokers(3).await
    }

    /// One broker without replication, for what needs a Kafka but no faults: 3 s.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn single() -> Result<KafkaCluster, Error> {
        KafkaCluster::with_brokers(1).await
    }

    async fn with_brokers(count: usize) -> Result<KafkaCluster, Error> {
        let home = KafkaHome::locate()?;
        let keeper = Keeper::new("kafka")?;
        let ports: Vec<Ports> = free_ports(2 * count)?
            .chunks_exact(2)
            .map(|pair| Ports {
                client: pair[0],
                controller: pair[1],
            })
            .collect();
        format(&keeper, &home, &ports).await?;
        let brokers = (1..)
            .zip(&ports)
            .map(|(id, ports)| Broker::start(&keeper, &home, id, ports.client))
            .collect::<Result<Vec<_>, _>>()?;
        let cluster = KafkaCluster {
            admin: admin(&brokers)?,
            brokers,
        };
        cluster.await_members().await?;
        // Listed brokers may still wait for the controller to let them lead; only a topic shows that they do.
        cluster.create_topic(READY, 1).await?;
        cluster.delete_topic(READY).await?;
        Ok(cluster)
    }
}

async fn format(keeper: &Keeper, home: &KafkaHome, ports: &[Ports]) -> Result<(), Error> {
    keeper.write("log4j.properties", LOG4J)?;
    keeper.write("log4j2.properties", LOG4J2)?;
    let cluster = cluster_id();
    let mut formats = Vec::new();
    for (node, id) in (0..ports.len()).zip(1..) {
        let name = format!("broker-{id}");
        let logs = keeper.create_dir(&name)?;
        let file = properties_file(id);
        keeper.write(&file, &properties(node, ports, &logs.display().to_string()))?;
        formats.push(
            java(home, keeper, &format!("format-{id}"), &["-Xmx64m"])
                .args(["kafka.tools.StorageTool", "format", "-t", &cluster, "-c"])
                .arg(keeper.directory().join(&file)),
        );
    }
    try_join_all(formats.iter().map(|launch| keeper.run(launch, FORMAT))).await?;
    Ok(())
}

/// 16 bytes in base64 for URLs: 22 characters, the last of which holds two bits. Letters and digits only, since a leading
/// dash would be read as an option.
fn cluster_id() -> String {
    let mut id: String = (0..21).map(|_| fastrand::alphanumeric()).collect();
    id.push('A');
    id
}

fn admin(brokers: &[Broker]) -> Result<AdminClient<DefaultClientContext>, Error> {
    rdkafka::ClientConfig::new()
        .set("bootstrap.servers", super::cluster::bootstrap(brokers))
        .set("broker.address.family", "v4")
        // librdkafka opens one connection at first, to any broker: if that is frozen, it must give up soon. One that was
        // restarted is asked again soon.
        .set("socket.timeout.ms", "5000")
        .set("api.version.request.timeout.ms", "2000")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .map_err(|error| Error::refused("create an admin client", error))
}
