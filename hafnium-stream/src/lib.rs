//! Kafka with acknowledged outcomes.
//!
//! * [`Kafka`] is one cluster: brokers, health, and the [`Producer`] that all users of the cluster share.
//! * [`Producer::send`] is idempotent and answers with partition and offset once every in-sync replica has the record,
//!   or with an error that says whether it happened.
//! * [`Consumer`] hands records to a [`Handler`] in the order of their keys, commits what was handled and nothing else,
//!   retries, and moves what can't be handled to a dead-letter topic before the offset passes it.
//!
//! One OS thread per consumer owns librdkafka's poll, because rebalances are served inside it and its wake-ups get
//! lost (rust-rdkafka #638, #665); asynchronous code talks to that thread over channels.

mod admin;
mod classify;
mod consumer;
mod failure;
mod handler;
mod kafka;
mod native;
mod producer;
mod record;
mod settings;
mod shown;
mod trouble;

pub use consumer::{Consumer, ConsumerSpec, MissingTopic, Order, PastDeadline, SpecError, StartAt};
pub use failure::{Disposition, Failure};
pub use handler::{Decode, Handler, Json, Raw};
pub use kafka::Kafka;
pub use producer::{Delivery, Message, Producer, SendError};
pub use record::{Headers, Record};
pub use settings::{KafkaSettings, SettingsError};
