//! Real servers on loopback, faults with proof, and a referee that accounts for every write.
//!
//! What a test gets from here is never a mock: servers run as child processes in private directories on free ports
//! ([`process`]), and every fault returns what shows that it happened. A fault whose proof does not hold is an
//! [`Error::Unproven`], because a test of a fault that did not happen proves nothing.
//!
//! Nothing outlives the test: not when the cluster is dropped, not when the test process is killed with SIGKILL.

pub mod aws;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "dev-services")]
pub mod dev;
#[cfg(feature = "dns")]
pub mod dns;
mod error;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "conformance")]
pub mod load;
pub mod otlp;
#[cfg(feature = "postgres")]
pub mod pgbouncer;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod process;
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis;
pub mod referee;
#[cfg(feature = "postgres")]
pub mod sandbox;
pub mod vault;

pub use error::Error;
#[cfg(feature = "postgres")]
pub use postgres::PostgresCluster;
pub use proxy::Proxy;
pub use referee::{Figures, Referee};
pub use vault::VaultServer;
