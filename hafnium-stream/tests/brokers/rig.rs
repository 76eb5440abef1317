//! The shared brokers, and what the tests have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Component, Context, ServiceInfo};
use hafnium_stream::{Consumer, ConsumerSpec, Failure, Handler, Kafka, KafkaSettings, Message, Record};
use hafnium_testkit::kafka::{Isolation, KafkaCluster, StoredRecord, read_topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

/// How long anything may take that is not itself measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Not dropped at the end of the test binary: it then ends with the process.
static CLUSTER: OnceCell<RwLock<KafkaCluster>> = OnceCell::const_new();

async fn cluster() -> &'static RwLock<KafkaCluster> {
    CLUSTER
        .get_or_init(|| async { RwLock::new(KafkaCluster::start().await.unwrap()) })
        .await
}

pub(crate) async fn shared() -> RwLockReadGuard<'static, KafkaCluster> {
    cluster().await.read().await
}

pub(crate) async fn alone() -> RwLockWriteGuard<'static, KafkaCluster> {
    cluster().await.write().await
}

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn topic(cluster: &KafkaCluster, name: &str, partitions: u32) -> String {
    let topic = unique(name);
    cluster.create_topic(&topic, partitions).await.unwrap();
    topic
}

pub(crate) fn settings(cluster: &KafkaCluster) -> KafkaSettings {
    let mut settings = KafkaSettings::new(cluster.bootstrap());
    settings.session_timeout = hafnium_core::config::Duration::from_secs(6);
    settings
}

pub(crate) async fn kafka(cluster: &KafkaCluster) -> Kafka {
    Kafka::connect(settings(cluster), &Context::standalone())
        .await
        .unwrap()
}

/// A context whose lifecycle the test moves.
pub(crate) fn context(watch: Watch) -> Context {
    Context::new(
        ServiceInfo::new("test", "0"),
        Registry::new(),
        Metrics::noop(),
        Propagation::none(),
        Tasks::new(),
        watch,
    )
}

/// Sends `count` numbered records, `payload` `0..count`, over `keys` keys: a few one after the other, so that offsets
/// follow the numbers; many at once.
pub(crate) async fn fill(kafka: &Kafka, topic: &str, keys: usize, count: usize) {
    let producer = kafka.producer();
    let sends = (0..count).map(|n| {
        let key = format!("k{}", n % keys);
        producer.send(Message::to(topic).key(key).json(&n).unwrap())
    });
    let at_once = if count > 50 { 500 } else { 1 };
    let sent = futures_util::stream::iter(sends).buffer_unordered(at_once);
    sent.for_each(|sent| async move { assert!(sent.is_ok(), "{sent:?}") })
        .await;
}

pub(crate) async fn stored(cluster: &KafkaCluster, topic: &str) -> Vec<StoredRecord> {
    read_topic(&cluster.bootstrap(), topic, Isolation::Committed, LIMIT)
        .await
        .unwrap()
}

/// What the group has committed per partition.
pub(crate) async fn committed(
    cluster: &KafkaCluster,
    group: &str,
    topic: &str,
    partitions: i32,
) -> BTreeMap<i32, i64> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap())
        .set("group.id", group);
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let group = group.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let begun = Instant::now();
        loop {
            match consumer.committed_offsets(list.clone(), LIMIT) {
                Ok(known) => return known,
                // After a broker of another test was killed the group's coordinator is on its way to another one.
                Err(error) => assert!(begun.elapsed() < LIMIT, "offsets of {group}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let known = asked.await.unwrap();
    let elements = known.elements();
    let offsets = elements.iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    });
    offsets.collect::<BTreeMap<_, _>>()
}

pub(crate) fn spec(topic: &str, group: &str) -> ConsumerSpec {
    ConsumerSpec::new().topic(topic).group(group)
}

/// A started consumer under `Context::standalone()`.
pub(crate) async fn consume(kafka: &Kafka, spec: ConsumerSpec, handler: impl Handler<usize>) -> Consumer {
    consume_in(&context(Watch::fixed(State::Ready)), kafka, spec, handler).await
}

pub(crate) async fn consume_in(
    cx: &Context,
    kafka: &Kafka,
    spec: ConsumerSpec,
    handler: impl Handler<usize>,
) -> Consumer {
    let consumer = Consumer::new("numbers", spec, kafka, handler, cx).unwrap();
    consumer.start(cx).await.unwrap();
    consumer
}

/// Notes which record came when.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Note>>>);

#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) value: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) attempt: u32,
    pub(crate) at: Instant,
}

impl Notes {
    pub(crate) fn take(&self, record: &Record<usize>) {
        self.0.lock().unwrap().push(Note {
            key: record.key_str().unwrap_or_default().to_owned(),
            value: record.value,
            partition: record.partition,
            offset: record.offset,
            attempt: record.attempt,
            at: Instant::now(),
        });
    }

    pub(crate) fn all(&self) -> Vec<Note> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn values(&self) -> Vec<usize> {
        let mut values: Vec<_> = self.all().iter().map(|note| note.value).collect();
        values.sort_unstable();
        values
    }

    /// The places in the topic of what came, each once: values may be alike, and records may come again.
    pub(crate) fn places(&self) -> BTreeSet<(i32, i64)> {
        self.all()
            .iter()
            .map(|note| (note.partition, note.offset))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A handler that notes each record once it has worked on it for `work`.
    pub(crate) fn after(&self, work: Duration) -> impl Handler<usize> + use<> {
        let notes = self.clone();
        move |record: Record<usize>| {
            let notes = notes.clone();
            async move {
                tokio::time::sleep(work).await;
                notes.take(&record);
                Ok::<_, Failure>(())
            }
        }
    }
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
