//! One dependency for the platform part of a microservice: probes, configuration and secrets, Postgres, Redis and Kafka
//! clients that survive failover, graceful shutdown and telemetry.
//!
//! A service declares what it has on [`Service`], without any I/O, and binds what it does in [`Service::run`]:
//!
//! ```no_run
//! use hafnium::axum::{Router, routing::get};
//!
//! fn main() -> std::process::ExitCode {
//!     hafnium::Service::new("hello", env!("CARGO_PKG_VERSION")).run(async |app| {
//!         app.serve(Router::new().route("/", get(async || "hello\n")));
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Features
//! None is on by default, and without features nothing needs a C compiler: what builds aws-lc-rs or librdkafka says so.
//!
//! | feature | adds |
//! |---|---|
//! | `postgres` | `postgres`, and `sqlx` as it is |
//! | `redis` | `redis`: our handle beside the whole of redis-rs |
//! | `kafka` | `kafka`: producer and consumer (builds librdkafka) |
//! | `otlp` | traces to a collector over http/protobuf |
//! | `tls` | TLS through rustls (builds aws-lc-rs): the application listener, upstreams, Postgres and Redis |
//! | `aws` | secrets from AWS Secrets Manager (`aws-sm:name#key`; builds aws-lc-rs) |
//! | `aws-ssm` | secrets from the SSM Parameter Store (`aws-ssm:/path`; implies `aws`) |
//! | `vault` | secrets from HashiCorp Vault or OpenBao (`vault:`, `vault-db:`, `vault-static:`; implies TLS: builds aws-lc-rs) |
//! | `dev-services` | what is not configured in environment `dev` is provided |

mod age;
mod app;
mod assembly;
#[cfg(feature = "kafka")]
mod binding;
mod build;
mod check;
mod classify;
mod command;
mod completions;
mod config_command;
mod connections;
mod declaration;
mod ending;
mod guard;
mod healthcheck;
mod lax;
mod material;
#[cfg(feature = "postgres")]
mod migrate;
mod operate;
mod outside;
mod problem;
#[cfg(all(
    feature = "dev-services",
    any(feature = "postgres", feature = "redis", feature = "kafka")
))]
mod provide;
mod reload;
mod run;
mod runtime;
mod secrets;
mod service;
mod setup;
mod stage;
mod upstream;

pub use app::App;
pub use classify::classify;
#[cfg(feature = "postgres")]
pub use declaration::PostgresDeclaration;
pub use runtime::RuntimeSettings;
pub use service::Service;
pub use setup::{NotDeclared, SetupError};

pub use hafnium_core::{
    Classified, Classify, Component, Context, Deadline, DeadlineExceeded, Fault, Outcome, StartError,
    Stopped, config, health, lifecycle, metrics, resilience, secret, tasks,
};
pub use {axum, tracing};

/// What HTTP handlers return and take.
pub mod http {
    pub use crate::problem::Problem;
    pub use hafnium_core::http::{Caller, REQUEST_ID, RequestId, Scheme};
    pub use hafnium_core::problem::Json;
    #[cfg(feature = "tls")]
    pub use hafnium_core::tls::PeerIdentity;
}

/// The HTTP client of a declared upstream.
pub mod client {
    pub use crate::upstream::UpstreamDeclaration;
    pub use hafnium_core::upstream::*;
}

/// The Postgres client; `sqlx` beside it is the library itself.
#[cfg(feature = "postgres")]
pub mod postgres {
    pub use hafnium_data::postgres::*;
}
#[cfg(feature = "postgres")]
pub use sqlx;

/// The Redis client, and redis-rs as it is.
#[cfg(feature = "redis")]
pub mod redis {
    pub use ::redis::*;
    pub use hafnium_data::redis::{Redis, RedisSettings, TargetError};
}

/// The Kafka client.
#[cfg(feature = "kafka")]
pub mod kafka {
    pub use hafnium_stream::*;
}
