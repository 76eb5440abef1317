//! A Postgres primary with streaming standbys, and what can happen to it.
//!
//! [`PostgresCluster`] starts real servers (the newest ones installed) as an unprivileged user on free loopback ports,
//! with SCRAM passwords. Its faults are methods; each returns its proof ([`Killed`], [`Frozen`], [`Promotion`], ..) or
//! an error when the proof does not hold.
//!
//! `fsync` is off: kill -9 ends processes, not the kernel, so nothing that a server wrote is lost by it. What a power
//! cut does is not tested here.
//!
//! Nodes are numbered from 0; node 0 is the first primary. Their names are `n1`, `n2`, ..

mod bringup;
mod builder;
mod cluster;
mod database;
mod fault;
mod installation;
mod node;
mod promotion;
mod proof;
mod readiness;
mod rejoin;
mod replication;
mod session;
mod settings;
mod tls;

pub use builder::{Builder, Synchronous};
pub use cluster::PostgresCluster;
pub use fault::StopMode;
pub use proof::{Frozen, Killed, PasswordChange, Promotion, Rejoin, RejoinBy, ReplayPause, Stopped, Thawed};
pub use readiness::{FirstWrite, ReadinessProbe};
pub use session::Session;
/// The raw driver that [`Session`] is one of; for tests that read the truth past the client under test.
pub use tokio_postgres;
