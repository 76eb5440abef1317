//! Redis: one server, or a master with two replicas under three sentinels.
//!
//! ```no_run
//! # async fn example() -> Result<(), hafnium_testkit::Error> {
//! use hafnium_testkit::redis::RedisSentinel;
//!
//! let cluster = RedisSentinel::start().await?;
//! let url = cluster.sentinel_url(); // redis+sentinel://:…@127.0.0.1:…,…/mymaster
//!
//! let killed = cluster.master().await?.kill9().await?;
//! let failover = cluster.wait_for_new_master(&killed.before).await?;
//! println!("{killed}\n{failover}");
//! # drop(url);
//! # Ok(())
//! # }
//! ```
//!
//! Needs `redis-server` on the PATH (6.0 or newer); a sentinel is the same program.

mod connection;
mod failover;
mod fault;
mod identity;
mod sentinel;
mod server;

pub use failover::Failover;
pub use fault::{Frozen, Killed};
pub use identity::{Identity, Role};
pub use sentinel::RedisSentinel;
pub use server::RedisServer;
