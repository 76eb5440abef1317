//! Contracts and the client-free parts of Hafnium.
//!
//! Every other crate of the house builds on what is here: the failure vocabulary ([`Classify`]), time
//! ([`Deadline`]), what a part of a service is ([`Component`]) and what it is given ([`Context`]), configuration,
//! health, lifecycle and the two HTTP listeners. Nothing here knows Postgres, Redis, Kafka or the OpenTelemetry SDK.

pub mod admin;
pub mod classify;
pub mod component;
pub mod config;
pub mod context;
pub mod deadline;
pub mod exit;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod problem;
pub mod propagation;
pub mod resilience;
pub mod secret;
pub mod tasks;
pub mod tls;
pub mod topology;
pub mod upstream;

pub use classify::{Classified, Classify, Fault, Outcome};
pub use component::{BoxFuture, Component, StartError, Stopped};
pub use context::{Context, ServiceInfo};
pub use deadline::{Deadline, DeadlineExceeded};
