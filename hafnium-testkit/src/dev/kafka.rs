//! Kafka as a dev service.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;

use super::ladder::Rung;
use super::server::{Access, Guard, Recipe, Server};
use crate::Error;
use crate::kafka::KafkaCluster;

pub(crate) struct Kafka;

/// How long one question for metadata may take; asked again until the server is given up.
const METADATA: Duration = Duration::from_secs(2);

impl Server for Kafka {
    const KIND: &'static str = "Kafka";
    const IMAGE: &'static str = "kafka";
    const PORT: u16 = 9092;
    const RUNGS: &'static [Rung] = &[Rung::Docker, Rung::Local, Rung::Mock];
    const INSTALL: &'static str = "export HAFNIUM_KAFKA_HOME=<an unpacked Apache Kafka>";

    fn recipe(_access: &Access, host: &str, port: u16) -> Recipe {
        let advertised = format!("PLAINTEXT://{host}:{port}");
        let environment = [
            ("KAFKA_NODE_ID", "1"),
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
            ("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093"),
            ("KAFKA_ADVERTISED_LISTENERS", &advertised),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "3"),
            ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS", "3"),
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_HEAP_OPTS", "-Xms192m -Xmx384m"),
        ];
        let environment = environment
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec();
        Recipe {
            environment,
            ..Recipe::default()
        }
    }

    fn url(_access: &Access, host: &str, port: u16) -> String {
        format!("{host}:{port}")
    }

    async fn answers(url: &str) -> Result<(), String> {
        let servers = url.to_owned();
        // librdkafka blocks its caller.
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &servers)
                .set("log_level", "0")
                .create()?;
            consumer
                .fetch_metadata(None, METADATA)
                .map(|metadata| metadata.brokers().len())
        });
        match asked.await {
            Ok(Ok(0)) => Err("the metadata names no broker".into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn local(_access: &Access) -> Result<(Guard, String), Error> {
        let broker = KafkaCluster::single().await?;
        let servers = broker.bootstrap();
        Ok((Box::new(broker), servers))
    }

    fn mock() -> Result<(Guard, String), String> {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        // The mock is not Send: it lives and ends on a thread of its own.
        let thread = std::thread::Builder::new()
            .name("hafnium-dev-kafka".into())
            .spawn(move || {
                match MockCluster::new(1) {
                    Ok(cluster) => {
                        let _told = started.send(Ok(cluster.bootstrap_servers()));
                        // Ends with an error when the guard is dropped.
                        let _dropped = ended.recv();
                    }
                    Err(error) => drop(started.send(Err(error.to_string()))),
                }
            });
        let thread = thread.map_err(|error| error.to_string())?;
        let servers = start
            .recv()
            .map_err(|_| String::from("the mock's thread ended"))??;
        Ok((
            Box::new(Mock {
                end: Some(end),
                thread: Some(thread),
            }),
            servers,
        ))
    }
}

struct Mock {
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
