//! Sends payments at a steady rate with a raw idempotent producer, and remembers what the broker acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::task::JoinSet;

use crate::payments::{Message, Payments};

/// What the generator did so far.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) sent: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) errors: AtomicU64,
    stop: AtomicBool,
    ids: Mutex<Ids>,
}

#[derive(Default)]
struct Ids {
    well_formed: BTreeSet<String>,
    malformed: BTreeSet<String>,
}

impl Sent {
    /// Ends the sending; what is under way is still awaited.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The acknowledged ids: well-formed ones and malformed ones.
    pub(crate) fn acknowledged_ids(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        (ids.well_formed.clone(), ids.malformed.clone())
    }

    fn acknowledge(&self, message: Message) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if message.malformed {
            ids.malformed.insert(message.id)
        } else {
            ids.well_formed.insert(message.id)
        };
    }
}

/// Sends `rate` payments per second until [`Sent::stop`], then waits for the last acknowledgement.
pub(crate) async fn run(bootstrap: String, seed: u64, rate: u32, sent: Arc<Sent>) -> Result<(), KafkaError> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "30000")
        .set("reconnect.backoff.max.ms", "500")
        .create()?;
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for (index, message) in Payments::new(seed).enumerate() {
        // Against the start, not the last payment: a hiccup is caught up, so that the rate stays true.
        let due = begun + Duration::from_secs_f64(index as f64 / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        if sent.stop.load(Ordering::Relaxed) {
            break;
        }
        sent.sent.fetch_add(1, Ordering::Relaxed);
        let (producer, sent) = (producer.clone(), sent.clone());
        sending.spawn(async move {
            let record = FutureRecord::to("payments")
                .key(&message.key)
                .payload(&message.body);
            match producer
                .send(record, Timeout::After(Duration::from_secs(5)))
                .await
            {
                Ok(_) => sent.acknowledge(message),
                Err(_) => {
                    sent.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        while sending.try_join_next().is_some() {}
    }
    while sending.join_next().await.is_some() {}
    Ok(())
}
