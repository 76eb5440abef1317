//! What the service runs against, and what is read past it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hafnium_testkit::kafka::{Isolation, KafkaCluster, StoredRecord, read_topic};
use hafnium_testkit::otlp::Collector;
use hafnium_testkit::postgres::PostgresCluster;
use hafnium_testkit::redis::RedisServer;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::support::{Ended, Launch, Service};

/// No step takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// A secret of the Kafka client, which these brokers don't ask for.
const SASL: &str = "kanarienvogel-sasl-9c1d";

/// The body of a payment.
pub(crate) fn payment(id: &str) -> String {
    format!("{{\"id\":\"{id}\",\"account\":\"acct-1\",\"amount\":2500}}")
}

/// The text of a record's header.
pub(crate) fn header(record: &StoredRecord, name: &str) -> Option<String> {
    let (_, value) = record.headers.iter().find(|(header, _)| header == name)?;
    String::from_utf8(value.clone()?).ok()
}

pub(crate) struct Rig {
    pub(crate) postgres: PostgresCluster,
    pub(crate) redis: RedisServer,
    pub(crate) kafka: KafkaCluster,
    /// What the service exports goes there.
    pub(crate) collector: Collector,
    next: AtomicU64,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let started = tokio::try_join!(
            PostgresCluster::single(),
            RedisServer::start(),
            KafkaCluster::single()
        );
        let (postgres, redis, kafka) = started.unwrap();
        postgres.create_database("risk").await.unwrap();
        // One partition: what was sent later is handled later.
        kafka.create_topic("payments", 1).await.unwrap();
        kafka.create_topic("risk-scores", 1).await.unwrap();
        Self {
            postgres,
            redis,
            kafka,
            collector: Collector::start().await.unwrap(),
            next: AtomicU64::new(0),
        }
    }

    /// The service, configured for these servers.
    pub(crate) fn launch(&self) -> Launch {
        Launch::new(env!("CARGO_BIN_EXE_risk-engine"))
            .file(
                "hafnium.toml",
                "[kafka.events.librdkafka_secrets]\n\"sasl.password\" = \"env:SASL_PASSWORD\"\n",
            )
            .variable("SASL_PASSWORD", SASL)
            .variable("HAFNIUM__POSTGRES__LEDGER__URL", self.ledger_url())
            .variable("HAFNIUM__REDIS__VELOCITY__URL", self.redis.url())
            .variable(
                "HAFNIUM__KAFKA__EVENTS__BOOTSTRAP_SERVERS",
                self.kafka.bootstrap(),
            )
            .variable("HAFNIUM__KAFKA__EVENTS__DELIVERY_TIMEOUT", "3s")
            .variable("HAFNIUM__KAFKA__EVENTS__REQUEST_TIMEOUT", "2s")
            .variable("HAFNIUM__POSTGRES__LEDGER__TIMEOUT", "2s")
            .variable("HAFNIUM__TELEMETRY__SAMPLE_RATIO", "100%")
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", self.collector.endpoint())
    }

    /// The rig's server has no certificate, and the default outside `dev` is `verify-full`.
    pub(crate) fn ledger_url(&self) -> String {
        format!("{}?sslmode=disable", self.postgres.url("risk"))
    }

    /// What must never be seen.
    pub(crate) fn secrets(&self) -> [String; 3] {
        let url = self.redis.url();
        let (_, rest) = url.split_once("://:").unwrap();
        let (redis, _) = rest.split_once('@').unwrap();
        [self.postgres.password(), redis.to_owned(), SASL.to_owned()]
    }

    /// A number that was not given before.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Everything in a topic; nothing where there is none.
    pub(crate) async fn records(&self, topic: &str) -> Vec<StoredRecord> {
        let read = read_topic(&self.kafka.bootstrap(), topic, Isolation::Uncommitted, LIMIT).await;
        read.unwrap_or_default()
    }

    /// Sends bytes as another team's producer would.
    pub(crate) async fn produce(&self, topic: &str, key: &str, bytes: &[u8], traceparent: &str) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .create()
            .unwrap();
        let headers = OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some(traceparent),
        });
        let record = FutureRecord::to(topic).key(key).payload(bytes).headers(headers);
        producer.send(record, LIMIT).await.unwrap();
    }

    /// How many effects a payment had.
    pub(crate) async fn effects(&self, id: &str) -> i64 {
        let session = self.postgres.connect(0, "risk").await.unwrap();
        let row = session
            .query_one("SELECT count(*) FROM exposure WHERE payment_id = $1", &[&id])
            .await;
        row.unwrap().get(0)
    }
}

/// Everything that the processes of a run let be seen.
#[derive(Default)]
pub(crate) struct Outputs(Vec<(String, String)>);

impl Outputs {
    /// What the endpoints of a running service show.
    pub(crate) async fn collect(&mut self, service: &Service) {
        for path in [
            "/",
            "/config",
            "/topology",
            "/loglevel",
            "/metrics",
            "/report",
            "/info",
            "/livez?verbose",
            "/readyz?verbose",
            "/startupz?verbose",
        ] {
            let answer = service.probe(path).await;
            self.0.push((path.to_owned(), format!("{answer:?}")));
        }
    }

    /// What was exported, which must be something.
    pub(crate) fn exported(&mut self, collector: &Collector) {
        let text = String::from_utf8_lossy(&collector.taken()).into_owned();
        for part in ["/v1/traces", "/v1/metrics", "risk-engine"] {
            assert!(text.contains(part), "no {part} was exported");
        }
        self.0.push(("exported".to_owned(), text));
    }

    pub(crate) fn ended(&mut self, ended: &Ended) {
        self.0.push(("stdout".to_owned(), ended.stdout.clone()));
        self.0.push(("stderr".to_owned(), ended.stderr.clone()));
    }

    #[track_caller]
    pub(crate) fn show_none_of(&self, secrets: &[String]) {
        // What is looked for can be found.
        assert!(
            self.0.iter().any(|(_, text)| text.contains("postgres.ledger")),
            "nothing was collected"
        );
        for secret in secrets {
            assert!(secret.len() >= 8, "too short to be told from chance: {secret}");
            let shown: Vec<_> = self.0.iter().filter(|(_, text)| text.contains(secret)).collect();
            assert!(shown.is_empty(), "a secret is shown: {shown:?}");
        }
    }
}
