//! The servers of the demo: started together, asked each second what they are.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hafnium_testkit::kafka::KafkaCluster;
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use hafnium_testkit::process::ProcessState;
use hafnium_testkit::redis::{RedisSentinel, Role};

use crate::results::{DEAD, SCORES};

pub(crate) const PARTITIONS: u32 = 6;

/// What the demo runs against.
pub(crate) struct Rig {
    pub(crate) postgres: PostgresCluster,
    pub(crate) redis: RedisSentinel,
    pub(crate) kafka: KafkaCluster,
}

impl Rig {
    /// Starts everything at once, with a line per part.
    pub(crate) async fn start() -> Result<Self, hafnium_testkit::Error> {
        let begun = Instant::now();
        let tell = |what: &str| println!("  {what} after {:.1} s", begun.elapsed().as_secs_f64());
        let postgres = async {
            let cluster = PostgresCluster::builder()
                .standbys(2)
                .synchronous(Synchronous::AnyOne)
                .start()
                .await?;
            cluster.create_database("risk").await?;
            tell("Postgres: primary and two standbys (ANY 1)");
            Ok(cluster)
        };
        let redis = async {
            let cluster = RedisSentinel::start().await?;
            tell("Redis: master, two replicas, three sentinels");
            Ok(cluster)
        };
        let kafka = async {
            let cluster = KafkaCluster::start().await?;
            for topic in ["payments", SCORES, DEAD] {
                cluster.create_topic(topic, PARTITIONS).await?;
            }
            tell("Kafka: three brokers (replication 3, min.insync 2)");
            Ok(cluster)
        };
        let (postgres, redis, kafka) = tokio::try_join!(postgres, redis, kafka)?;
        Ok(Self {
            postgres,
            redis,
            kafka,
        })
    }

    /// What each node says it is, such as `pg PSS  redis MRR  kafka 123`: P primary, S standby, M master, R replica,
    /// a broker's number while its process runs; `-` for a node that does not answer within 300 ms.
    pub(crate) async fn roles(&self) -> String {
        let postgres = join_all((0..self.postgres.len()).map(|node| self.postgres_role(node)));
        let redis = join_all((0..self.redis.nodes().len()).map(|node| self.redis_role(node)));
        let (postgres, redis) = tokio::join!(postgres, redis);
        let kafka = self.kafka.brokers().into_iter().map(|broker| self.broker(broker));
        let text = |roles: Vec<char>| roles.into_iter().collect::<String>();
        format!(
            "pg {}  redis {}  kafka {}",
            text(postgres),
            text(redis),
            kafka.collect::<String>()
        )
    }

    async fn postgres_role(&self, node: usize) -> char {
        let ask = async {
            let session = self.postgres.connect(node, "postgres").await.ok()?;
            session
                .query_one("SELECT pg_is_in_recovery()", &[])
                .await
                .ok()?
                .try_get(0)
                .ok()
        };
        match brief(ask).await {
            Some(true) => 'S',
            Some(false) => 'P',
            None => '-',
        }
    }

    async fn redis_role(&self, node: usize) -> char {
        match brief(async { self.redis.nodes()[node].identity().await.ok() }).await {
            Some(identity) if identity.role == Role::Master => 'M',
            Some(_) => 'R',
            None => '-',
        }
    }

    fn broker(&self, broker: i32) -> char {
        match self.kafka.state(broker) {
            Ok(ProcessState::Alive) => u32::try_from(broker)
                .ok()
                .and_then(|id| char::from_digit(id, 10))
                .unwrap_or('?'),
            _ => '-',
        }
    }
}

/// An answer within 300 ms, or none.
async fn brief<T>(ask: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(300), ask)
        .await
        .ok()
        .flatten()
}
