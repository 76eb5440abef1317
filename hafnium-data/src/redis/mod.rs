//! Redis that leaves a demoted or silent primary.
//!
//! One shared multiplexed connection to the primary carries all ordinary commands; a monitor asks the sentinels (or
//! the one address) who the primary is, and on a switch cuts what is in flight to the old one. The handle implements
//! redis-rs's own connection trait, so [`redis::AsyncCommands`] and pipelines work unchanged.
//!
//! What redis-rs alone does instead, measured: its `ConnectionManager` never left a demoted node (194 of 194 writes
//! `READONLY` in 10 s) and never left a black-holed flow.

mod class;
mod classify;
mod handle;
mod link;
mod monitor;
mod resolver;
mod settings;
mod shown;
mod target;

pub use classify::classify;
pub use handle::Redis;
pub use settings::RedisSettings;
pub use target::TargetError;
