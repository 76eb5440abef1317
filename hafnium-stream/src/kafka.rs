//! One cluster: its brokers' health, and the producer that all its users share.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hafnium_core::health::{Check, Registration, Status};
use hafnium_core::propagation::Propagation;
use hafnium_core::{BoxFuture, Component, Context, Deadline, StartError, Stopped};
use rdkafka::producer::Producer as _;

use crate::native;
use crate::producer::{Credits, Deliveries, Link, Producer, State, Topics};
use crate::settings::{KafkaSettings, SettingsError};
use crate::shown::{self, Brokers};
use crate::trouble::Trouble;

/// Bucket bounds of durations, in seconds: those of HTTP requests.
pub(crate) const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Any broker answers for this topic, whether it exists or not; nothing is created by asking.
const PROBED_TOPIC: &str = "__consumer_offsets";

/// One try of a start. Short, because only its end tells the probes what is being waited for.
const TRY: Duration = Duration::from_secs(1);
/// How long a client without a service around it waits for its first answer.
const CONNECT: Duration = Duration::from_secs(5);

/// A Kafka cluster by name. Cheap to clone; all clones share one native producer.
///
/// As a component it starts once a broker has answered, and stops once every record under way is acknowledged. Its
/// consumers are components of their own ([`Consumer`](crate::Consumer)) that stop before it, because their dead
/// letters go through its producer.
#[derive(Clone)]
pub struct Kafka {
    pub(crate) cluster: Arc<Cluster>,
}

/// What the handles of one cluster share.
pub(crate) struct Cluster {
    /// The name under which it is declared.
    declared: String,
    pub(crate) settings: KafkaSettings,
    pub(crate) client_id: String,
    pub(crate) propagation: Propagation,
    pub(crate) credits: Credits,
    pub(crate) topics: Topics,
    pub(crate) link: Link,
    pub(crate) brokers: Brokers,
    trouble: Arc<Trouble>,
    component: String,
    _health: Registration,
    _shown: hafnium_core::topology::Registration,
}

impl Kafka {
    /// The cluster `name` as `settings` say. No I/O: [`Component::start`] connects.
    ///
    /// # Errors
    /// [`SettingsError`] when a value is out of its range or would break a guarantee.
    pub fn new(
        name: impl Into<String>,
        settings: KafkaSettings,
        cx: &Context,
    ) -> Result<Self, SettingsError> {
        native::check(&settings)?;
        let name = name.into();
        let component = format!("kafka.{name}");
        let cluster = Arc::new_cyclic(|cluster: &Weak<Cluster>| {
            let cluster = cluster.clone();
            let shown = shown::register(&component, cluster.clone(), cx.topology());
            let check = Check::shared(component.clone()).timeout(Duration::from_secs(2));
            let health = cx.health().register(check, move || {
                let cluster = cluster.upgrade();
                async move {
                    match cluster {
                        Some(cluster) => cluster.health().await,
                        None => Status::Down("stopped".into()),
                    }
                }
            });
            Cluster {
                credits: Credits::new(settings.buffer_records, settings.buffer_bytes.bytes()),
                topics: Topics::new(cx.metrics()),
                link: Link::new(),
                brokers: Brokers::default(),
                trouble: Arc::new(Trouble::new(component.clone())),
                client_id: cx.service().instance.clone(),
                propagation: cx.propagation().clone(),
                declared: name,
                settings,
                component,
                _health: health,
                _shown: shown,
            }
        });
        Ok(Self { cluster })
    }

    /// The cluster at `settings`, connected. For use without a service around it.
    ///
    /// # Errors
    /// [`StartError::Configuration`] for settings that can't work, [`StartError::Unavailable`] when no broker answered
    /// within 5 s.
    pub async fn connect(settings: KafkaSettings, cx: &Context) -> Result<Self, StartError> {
        let kafka = Self::new("default", settings, cx)
            .map_err(|error| StartError::configuration("kafka.default", error))?;
        kafka.open(CONNECT).await?;
        Ok(kafka)
    }

    /// Makes the producer, once, and waits for any broker's answer, for `limit` at most.
    async fn open(&self, limit: Duration) -> Result<(), StartError> {
        let cluster = &self.cluster;
        let config = native::producer(&cluster.settings, &cluster.client_id);
        let context = || Deliveries {
            trouble: cluster.trouble.clone(),
        };
        cluster
            .link
            .open(format!("kafka-{}", cluster.declared), &config, context)
            .map_err(|error| StartError::configuration(&cluster.component, error))?;
        cluster
            .reach(limit)
            .await
            .map_err(|reason| StartError::unavailable(&cluster.component, reason))
    }

    /// The name of the cluster.
    pub fn name(&self) -> &str {
        &self.cluster.declared
    }

    /// A handle that sends to this cluster.
    pub fn producer(&self) -> Producer {
        Producer {
            cluster: self.cluster.clone(),
        }
    }
}

impl Cluster {
    /// Asks any broker for an answer, for at most `limit`.
    async fn reach(self: &Arc<Self>, limit: Duration) -> Result<(), String> {
        let cluster = self.clone();
        // The call blocks, so that it runs on a thread for that; its own limit ends it.
        let asked = tokio::task::spawn_blocking(move || match cluster.link.state() {
            State::Running(native) => native
                .client()
                .fetch_metadata(Some(PROBED_TOPIC), limit)
                .map(|metadata| cluster.brokers.named(&metadata))
                .map_err(|error| {
                    let reason = cluster.trouble.last().unwrap_or_else(|| error.to_string());
                    cluster.brokers.unreachable(&reason);
                    reason
                }),
            State::NotStarted => Err("not started".to_owned()),
            State::Stopped => Err("stopped".to_owned()),
        });
        asked.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn health(self: &Arc<Self>) -> Status {
        if let State::Running(native) = self.link.state()
            && let Some((code, reason)) = native.client().fatal_error()
        {
            return Status::Down(format!("the producer failed for good: {code}: {reason}"));
        }
        match self.reach(Duration::from_millis(1500)).await {
            Ok(()) => Status::Up,
            Err(reason) => Status::Down(format!("no broker answers: {reason}")),
        }
    }
}

impl Component for Kafka {
    fn name(&self) -> &str {
        &self.cluster.component
    }

    fn start<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(self.open(TRY))
    }

    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async move {
            let cluster = &self.cluster;
            cluster.link.refuse();
            let flushed = deadline
                .bound("acknowledgements", cluster.credits.all_returned())
                .await;
            let unacknowledged = self.under_way();
            cluster.link.close();
            match flushed {
                Ok(()) => Stopped::Clean,
                Err(_) => Stopped::Incomplete(unacknowledged),
            }
        })
    }

    fn under_way(&self) -> Vec<String> {
        let component = &self.cluster.component;
        let in_flight = self.cluster.topics.in_flight().into_iter();
        in_flight
            .map(|(topic, count)| format!("{component}: {count} records to {topic} unacknowledged"))
            .collect()
    }
}
